/** What does HUB.yaml say about the vault? Its id, and whether other workspaces of the owner may use it. The file is read strictly. */
import { isAlias, isScalar, type ParsedNode } from 'yaml'
import {
  groupsOf,
  hintAmong,
  nearest,
  readStrictYaml,
  refuseAgain,
  refuseUnknown,
  wordsFor,
  type Place,
  type Report,
} from '../config/strict-yaml.ts'
import { SHARED_KEY } from './workspace-grants.ts'

/** What the file says about the vault. */
export interface HubConfig {
  /** `vault.id`, which the sealed file is bound to. */
  readonly vaultId: string
  /** `privacy.vault_shared_across_workspaces`. Default: false. */
  readonly sharedAcrossWorkspaces: boolean
}

const ID = 'vault.id'
const SHARED = SHARED_KEY

/** The keys that are known, from the top. */
const KNOWN: readonly string[] = [ID, SHARED]

const SECTIONS: readonly string[] = KNOWN.map((path) => path.slice(0, path.indexOf('.')))

const VAULT_ID = /^[A-Za-z0-9._-]{1,64}$/

/**
 * Reads HUB.yaml.
 * @param bytes the whole file, in UTF-8
 * @param name what the problems call the file
 * @throws {ConfigError} with every problem, each with its line as far as it has one
 */
export function readHubYaml(bytes: Uint8Array, name = 'HUB.yaml'): HubConfig {
  const { root, report } = readStrictYaml(bytes, name)
  return configOf(root, report)
}

/** What the keys say. @throws {ConfigError} */
function configOf(root: ParsedNode | undefined, report: Report): HubConfig {
  const places = placesOf(root, report)
  const [vaultId] = (places.get(ID) ?? []).map((place) => idIn(place, report))
  const [shared = false] = (places.get(SHARED) ?? []).map((place) => sharedIn(place, report))
  if (vaultId === undefined)
    report.add(undefined, `${ID} is missing: it tells this vault from those of other workspaces`)
  report.end()
  return { vaultId: vaultId ?? '', sharedAcrossWorkspaces: shared }
}

/** Where the known keys stand. One that stands twice is a problem. */
function placesOf(
  root: ParsedNode | undefined,
  report: Report,
): ReadonlyMap<string, readonly Place[]> {
  const found = new Map<string, readonly Place[]>()
  for (const [section, places] of groupsOf(root, '', report)) {
    if (!SECTIONS.includes(section)) {
      refuseUnknown({ name: section, inside: '', hint: hintFor(section, '') }, places, report)
      continue
    }
    refuseAgain(section, places, report)
    const known = KNOWN.filter((path) => path.startsWith(`${section}.`))
    for (const [name, inside] of groupsOf(places[0]?.value, section, report)) {
      const path = `${section}.${name}`
      if (known.includes(path)) {
        refuseAgain(path, inside, report, path === SHARED ? whyOpposite : undefined)
        found.set(path, inside)
      } else refuseUnknown({ name, inside: section, hint: hintFor(name, section) }, inside, report)
    }
  }
  return found
}

/** Why the key stands twice, when one value is true, and the other one false. */
function whyOpposite(one: Place, other: Place): string {
  const values = [one, other].map(({ value }) => (isScalar(value) ? value.value : undefined))
  return values.includes(true) && values.includes(false)
    ? ', because the sample of HUB.yaml gives both true and false'
    : ''
}

/** Which name was meant: one of the same mapping, or else one of another. */
function hintFor(name: string, section: string): string {
  const siblings =
    section === '' ? SECTIONS : KNOWN.filter((path) => path.startsWith(`${section}.`)).map(lastOf)
  const isMeant = (path: string) => name === path || nearest(name, [lastOf(path)]) !== undefined
  const isSibling = !KNOWN.includes(name) && nearest(name, siblings) !== undefined
  const elsewhere = KNOWN.find(isMeant)
  if (isSibling || elsewhere === undefined) return hintAmong(name, siblings)
  return `did you mean ${lastOf(elsewhere)} inside of ${elsewhere.slice(0, elsewhere.indexOf('.'))}?`
}

function lastOf(path: string): string {
  return path.slice(path.indexOf('.') + 1)
}

/** @returns an empty text for a value that is a problem */
function idIn({ offset, value: node }: Place, report: Report): string {
  if (isAlias(node)) return '' // told before
  const value = isScalar(node) ? node.value : undefined
  if (typeof value === 'string' && VAULT_ID.test(value)) return value
  const takes = `${ID} takes 1 to 64 letters, digits, dots, underscores and hyphens`
  const isNumber = typeof value === 'number' || typeof value === 'boolean'
  const hint = isNumber ? ': put it in quotes' : ''
  report.add(node?.range[0] ?? offset, `${takes}, and has ${wordsFor(node)}${hint}`)
  return ''
}

function sharedIn({ offset, value: node }: Place, report: Report): boolean {
  if (isAlias(node)) return false // told before
  const value = isScalar(node) ? node.value : undefined
  if (typeof value === 'boolean') return value
  report.add(node?.range[0] ?? offset, `${SHARED} takes true or false, and has ${wordsFor(node)}`)
  return false
}
