/** What does a policy file say? A list of policies, each with its windows. The file is read strictly. */
import { realpathSync } from 'node:fs'
import { isAlias, isMap, isScalar, type ParsedNode } from 'yaml'
import { codeOf } from '../answers/errors.ts'
import { readWholeBytes } from '../store/whole-file.ts'
import type { LimitPolicy, LimitWindow } from './limit-policies.ts'
import { ConfigError } from './load.ts'
import {
  itemsOf,
  MAX_BYTES,
  membersOf,
  readStrictYaml,
  wholeNumberIn,
  wordsFor,
  type Place,
  type Report,
} from './strict-yaml.ts'

/** How many policies a file may have. */
const MAX_POLICIES = 100

/** How many windows a policy may have. */
const MAX_WINDOWS = 8

/** How many points a window may have: each is a grant that is kept. */
const MAX_POINTS = 1000

/** How long a window may be, in seconds: 366 days. */
const MAX_WINDOW_SECONDS = 366 * 24 * 60 * 60

/** It is a part of a path, of fields and of labels. */
const POLICY_NAME = /^[a-z0-9][a-z0-9-]{0,63}$/

const POLICIES = 'policies'

/**
 * The policies of a file, as they stand in it; the windows of each with the shortest first.
 * @param path of the file, which may be a link
 * @param name what the problems call the file
 * @throws {ConfigError} with every problem, each with its line as far as it has one
 */
export function policiesInFile(path: string, name: string): readonly LimitPolicy[] {
  return policiesOf(contentOf(path, name), name)
}

/** The policies that the bytes of a file say. @throws {ConfigError} */
export function policiesOf(bytes: Uint8Array, name: string): readonly LimitPolicy[] {
  const { root, report } = readStrictYaml(bytes, name)
  const list = membersOf(root, '', [POLICIES], report)[POLICIES]
  if (list === undefined)
    report.add(undefined, `${POLICIES} is missing: it takes a list of policies`)
  const items = list === undefined ? [] : itemsOf(list, POLICIES, report)
  refuseMoreThan(MAX_POLICIES, POLICIES, items, report)
  const names = new Map<string, number>()
  const policies = items.map((item, i) => policyIn(item, `${POLICIES}[${i}]`, names, report))
  report.end()
  return policies
}

function contentOf(path: string, name: string): Buffer {
  try {
    return readWholeBytes(realpathSync(path), MAX_BYTES)
  } catch (error) {
    const why = codeOf(error) || (error instanceof Error ? error.message : String(error))
    throw new ConfigError([`${name} cannot be read (${why})`])
  }
}

/** @param names of the policies before, each with its place. This one's is added. */
function policyIn(
  item: ParsedNode,
  path: string,
  names: Map<string, number>,
  report: Report,
): LimitPolicy {
  const members = membersOf(item, path, ['name', 'windows', 'store-away'], report)
  const name = needed(members, 'name', { item, path, report })
  const windows = needed(members, 'windows', { item, path, report })
  return {
    name: name === undefined ? '' : nameIn(name, `${path}.name`, names, report),
    storeAway: storeAwayIn(members['store-away'], `${path}.store-away`, report),
    windows: windows === undefined ? [] : windowsIn(windows, `${path}.windows`, report),
  }
}

/** The member of a mapping. When it is missing, that is a problem. */
function needed<Name extends string>(
  members: Partial<Record<Name, Place>>,
  name: NoInfer<Name>,
  { item, path, report }: { item: ParsedNode; path: string; report: Report },
): Place | undefined {
  const place = members[name]
  if (place === undefined && (isMap(item) || (isScalar(item) && item.value === null)))
    report.add(item.range[0], `${path}.${name} is missing`)
  return place
}

function nameIn(
  { offset, value: node }: Place,
  path: string,
  names: Map<string, number>,
  report: Report,
): string {
  if (isAlias(node)) return '' // told before
  const at = node?.range[0] ?? offset
  const value = isScalar(node) ? node.value : undefined
  if (typeof value !== 'string' || !POLICY_NAME.test(value)) {
    const hint = typeof value === 'number' ? ': put it in quotes' : ''
    report.add(
      at,
      `${path} takes 1 to 64 lower-case letters, digits and hyphens, without a hyphen at its beginning, and has ${wordsFor(node)}${hint}`,
    )
    return ''
  }
  const before = names.get(value)
  if (before === undefined) names.set(value, at)
  else
    report.add(
      at,
      `${path} ${value} is that of the policy on line ${report.lineOf(before)} too: give each its own`,
    )
  return value
}

function storeAwayIn(
  place: Place | undefined,
  path: string,
  report: Report,
): LimitPolicy['storeAway'] {
  if (place === undefined) return 'refuse'
  const { offset, value: node } = place
  const value = isScalar(node) ? node.value : undefined
  if (value === 'refuse' || value === 'allow') return value
  if (!isAlias(node))
    report.add(node?.range[0] ?? offset, `${path} takes refuse or allow, and has ${wordsFor(node)}`)
  return 'refuse'
}

/** A window, and where it stands. */
interface PlacedWindow extends LimitWindow {
  readonly offset: number
}

/** The windows of a policy, the shortest first. */
function windowsIn(place: Place, path: string, report: Report): readonly LimitWindow[] {
  const items = itemsOf(place, path, report)
  refuseMoreThan(MAX_WINDOWS, path, items, report)
  const windows = items
    .map((item, i) => windowIn(item, `${path}[${i}]`, report))
    .toSorted((a, b) => a.seconds - b.seconds)
  refuseUseless(windows, path, report)
  return windows.map(({ points, seconds }) => ({ points, seconds }))
}

/** A window; what is a problem in it is not a number. */
function windowIn(item: ParsedNode, path: string, report: Report): PlacedWindow {
  const members = membersOf(item, path, ['points', 'window'], report)
  const points = needed(members, 'points', { item, path, report })
  const window = needed(members, 'window', { item, path, report })
  const number = (at: Place | undefined, name: string, max: number) =>
    at === undefined ? NaN : wholeNumberIn(at, `${path}.${name}`, [1, max], report)
  return {
    offset: item.range[0],
    points: number(points, 'points', MAX_POINTS),
    seconds: number(window, 'window', MAX_WINDOW_SECONDS),
  }
}

/** Refuses windows that change nothing: a second one of a length, and a short one that allows more than a longer one. */
function refuseUseless(windows: readonly PlacedWindow[], path: string, report: Report): void {
  for (const [i, { seconds, points, offset }] of windows.entries()) {
    const before = windows.slice(0, i).find((other) => other.seconds === seconds)
    const tighter = windows.find((other) => other.seconds > seconds && other.points < points)
    if (before !== undefined)
      report.add(
        offset,
        `${path} has a window of ${seconds} s on line ${report.lineOf(before.offset)} too: keep one`,
      )
    if (tighter !== undefined)
      report.add(
        offset,
        `${path} allows ${points} in ${seconds} s, and only ${tighter.points} in ${tighter.seconds} s (line ${report.lineOf(tighter.offset)}), so that the shorter window can never say no: give it fewer points, or delete it`,
      )
  }
}

function refuseMoreThan(
  most: number,
  path: string,
  items: readonly ParsedNode[],
  report: Report,
): void {
  const first = items[most]
  if (first !== undefined)
    report.add(first.range[0], `${path} takes ${most} at most, and has ${items.length}`)
}
