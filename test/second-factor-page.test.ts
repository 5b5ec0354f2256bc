/** Do the pages about second factors and about the owner's page tell the truth? Their lists are those of the code. */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { OWNER_ACTIONS } from '../src/admin/owner-actions.ts'
import { FACTOR_DETAILS, OWNER_DETAILS } from '../src/answers/details.ts'
import { stepUpChallenge } from '../src/answers/problem.ts'
import { SETTINGS } from '../src/config/settings.ts'
import { STEP_UP_MAX_AGE_SECONDS } from '../src/answers/errors.ts'
import { pageOf } from './helpers/api.ts'
import { NAVIGATION } from './helpers/door.ts'
import { startWorkspace } from './helpers/gateway.ts'
import { send } from './helpers/wire.ts'

const factors = readFileSync('docs/second-factor.md', 'utf8')
const owners = readFileSync('docs/owner-page.md', 'utf8')

/** A section of a page, without its heading. */
function sectionOf(t: Test, page: string, heading: string): string {
  const [, rest = ''] = page.split(`\n## ${heading}\n`)
  const [section = ''] = rest.split('\n## ')
  t.ok(section.length > 0, heading)
  return section
}

t.test('the acts that want a factor are listed, and no other', async (t) => {
  const rows = sectionOf(t, owners, 'What wants a second factor').matchAll(
    /^\| [^|]+ \| `([a-z-]+)` \|/gm,
  )
  const acts = Object.entries(OWNER_ACTIONS).flatMap(([name, { isAct }]) => (isAct ? [name] : []))
  t.same(new Set([...rows].map(([, name]) => name)), new Set(acts))
  t.match(owners, `not older than ${STEP_UP_MAX_AGE_SECONDS / 60} minutes`)
})

t.test('every page that is listed is there', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_SECOND_FACTOR: 'local' })
  const browser = [...(await pageOf({ port })), ...NAVIGATION]
  const [, first = ''] = /^# What is the page at (\S+)\?/.exec(owners) ?? []
  const rows = sectionOf(t, owners, 'The other pages').matchAll(/^\| `(\/_gateway\/[^`]*)` \|/gm)
  const paths = [first, ...[...rows].map(([, path = '']) => path)]
  t.ok(paths.length > 4)
  for (const path of paths) {
    const { status, headers } = await send(port, `GET ${path}`, browser)
    t.equal(status, 200, path)
    t.match(headers['content-type'], /^text\/html/, path)
  }
})

t.test('the challenge is the one that programs get, with the settings of the page', async (t) => {
  const amr = /GATEWAY_TERMINAL_AMR=(\S+)/.exec(factors)?.[1] ?? ''
  t.ok(amr.split(',').length > 2)
  t.same(SETTINGS.terminalAmr.parse(amr), amr.split(','))
  t.match(factors, `WWW-Authenticate: ${stepUpChallenge(3600, ['otp', 'hwk', 'mfa'])}\n`)
})

t.test('the runbook explains reasons that the log has', async (t) => {
  const runbook = readFileSync('docs/runbook.md', 'utf8')
  const rows = sectionOf(t, runbook, 'Somebody lost their second factor').matchAll(
    /^\| `([a-z][a-z ]*(?:-[a-z]+)*)`/gm,
  )
  const reasons = [...rows].slice(1).map(([, reason = '']) => reason) // behind the head of the table
  t.ok(reasons.length > 6)
  for (const reason of reasons) t.ok(reason in FACTOR_DETAILS || reason in OWNER_DETAILS, reason)
})
