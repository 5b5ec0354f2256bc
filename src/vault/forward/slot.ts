/** What stands in the slot of a request? The credential, rendered as the policy says. */
import { isFieldValue } from '../../http/fields.ts'
import type { Policy } from '../policy.ts'
import { VaultError } from '../vault-errors.ts'

/** The value of the slot's header, with one character per byte (latin1). */
export function renderSlot({ kind, slot }: Pick<Policy, 'kind' | 'slot'>, value: Buffer): string {
  const secret = value.toString('latin1')
  if (kind === 'workspace') return `Bearer ${secret}`
  const filled = inHole(slot.template, secret)
  return kind === 'basic' ? `Basic ${Buffer.from(filled, 'latin1').toString('base64')}` : filled
}

/** The same for a request. @throws {VaultError} when no header can have the value, which the vault refuses at `add` too */
export function fillSlot(policy: Policy, value: Buffer): string {
  const rendered = renderSlot(policy, value)
  if (isFieldValue(rendered)) return rendered
  throw new VaultError(
    'service-unreachable',
    `the credential of "${policy.service}" has a character that no header may have; the owner replaces it with: workspace-gateway vault rotate ${policy.service}`,
  )
}

/** Not with `replace`, in whose second argument `$&` has a meaning. */
function inHole(template: string, secret: string): string {
  const [before = '', ...after] = template.split('{}')
  if (after.length !== 1) throw new TypeError('a slot without exactly one hole')
  return before + secret + after.join('')
}
