/** How does a change of the owner turn one entry into the next? Pure functions, and refusals of changes that do not fit. */
import { randomBytes } from 'node:crypto'
import { sortedSet } from './leases.ts'
import { newestOf, type Entry, type Policy, type Version } from './policy.ts'
import { VaultError } from './vault-errors.ts'

const ID_BYTES = 16

/** A new entry. Its id is random, so that one that is removed and added again is another. */
export function addedEntry(policy: Policy, value: Buffer, now: number): Entry {
  const first: Version = { version: 1, createdAt: now, keptUntil: undefined, value }
  return { id: randomBytes(ID_BYTES).toString('hex'), policy, versions: [first] }
}

/**
 * The entry with a new version, which requests use at once. This also ends a suspension, because the credential that was repeated
 * is no longer the one in use.
 * @param next `keptUntil`: until when the version before it is kept; undefined drops it at once
 */
export function rotated(
  entry: Entry,
  { value, now, keptUntil }: { value: Buffer; now: number; keptUntil: number | undefined },
): Entry {
  const newest = newestOf(entry)
  if (newest.value.equals(value))
    throw new VaultError('conflict', 'the new credential is the one that the entry has already')
  const version = newest.version + 1
  const kept = keptUntil === undefined ? [] : [{ ...newest, keptUntil }]
  return {
    ...entry,
    policy: { ...entry.policy, suspended: false },
    versions: [...kept, { version, createdAt: now, keptUntil: undefined, value }],
  }
}

/**
 * The entry with the credential before the newest as its newest again, under a new number. The newest is kept as long as the other
 * would have been, so that answers are still scrubbed of it.
 * @throws {VaultError} `conflict` when none is kept
 */
export function backVersion(entry: Entry, now: number): Entry {
  const newest = newestOf(entry)
  const before = entry.versions.findLast(
    ({ keptUntil }) => keptUntil !== undefined && keptUntil > now,
  )
  if (before === undefined)
    throw new VaultError(
      'conflict',
      'no version before the newest is kept; rotate keeps one with --overlap 10m',
    )
  const { keptUntil, value } = before
  return {
    ...entry,
    policy: { ...entry.policy, suspended: false },
    versions: [
      { ...newest, keptUntil },
      { version: newest.version + 1, createdAt: now, keptUntil: undefined, value },
    ],
  }
}

/** The entry with further grants. */
export function granted(entry: Entry, agents: readonly string[]): Entry {
  const { grants } = entry.policy
  const fresh = agents.filter((name) => !grants.includes(name))
  if (fresh.length === 0) throw new VaultError('conflict', 'the grant is there already')
  return withPolicy(entry, { grants: sortedSet([...grants, ...fresh]) })
}

/** The entry without some grants. */
export function revokedFrom(entry: Entry, agents: readonly string[]): Entry {
  const { grants } = entry.policy
  const missing = agents.filter((name) => !grants.includes(name))
  if (missing.length > 0)
    throw new VaultError('conflict', `there is no grant for ${missing.join(', ')}`)
  return withPolicy(entry, { grants: grants.filter((name) => !agents.includes(name)) })
}

/** The entry in use again. */
export function resumed(entry: Entry): Entry {
  if (!entry.policy.suspended) throw new VaultError('conflict', 'the entry is not suspended')
  return withPolicy(entry, { suspended: false })
}

function withPolicy(entry: Entry, change: Partial<Policy>): Entry {
  return { ...entry, policy: { ...entry.policy, ...change } }
}
