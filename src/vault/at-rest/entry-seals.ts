/**
 * How does an entry become its form in the file, and back? Each version of the credential is sealed with a key of its own, and with
 * everything that the entry says as additional data.
 */
import type { Entry, Version } from '../policy.ts'
import { canonical, type Json } from './canonical.ts'
import type { EntryDocument, FileProblem, VaultDocument, VersionDocument } from './document.ts'
import { FORMAT, isMacOf, macOf, versionKey } from './key-tree.ts'
import { seal, unseal } from './sealed-value.ts'

/** What belongs to all seals of a file. */
export interface Sealing {
  readonly vaultId: string
  readonly dataKey: Buffer
}

/** Seals all versions of an entry. */
export function sealEntry(sealing: Sealing, { id, policy, versions }: Entry): EntryDocument {
  const facts = versions.map(({ version, createdAt, keptUntil = null }) => ({
    ...{ version, createdAt, keptUntil },
  }))
  const bare = { id, policy, versions: facts }
  const sealOne = ({ version, value }: Version, index: number): VersionDocument[] => {
    const fact = facts[index]
    if (fact === undefined) return []
    const key = versionKey(sealing.dataKey, id, version)
    const sealed = seal(key, value, additionalData(sealing, bare, fact)).toString('base64url')
    return [{ ...fact, sealed }]
  }
  return { id, policy, versions: versions.flatMap(sealOne) }
}

/** @returns undefined when anything of the entry was changed, or when the seals are of another entry, vault or data key */
function unsealEntry(sealing: Sealing, document: EntryDocument): Entry | undefined {
  const { id, policy } = document
  const versions: Version[] = []
  for (const one of document.versions) {
    const { version, createdAt, keptUntil, sealed } = one
    const key = versionKey(sealing.dataKey, id, version)
    const data = additionalData(sealing, document, one)
    const value = unseal(key, Buffer.from(sealed, 'base64url'), data)
    if (value === undefined) return undefined
    versions.push({ version, createdAt, keptUntil: keptUntil ?? undefined, value })
  }
  return { id, policy, versions }
}

/** Opens all entries of a file, and checks its MAC. */
export function unsealDocument(sealing: Sealing, document: VaultDocument) {
  const entries: Entry[] = []
  const problems: FileProblem[] = []
  for (const one of document.entries) {
    const entry = unsealEntry(sealing, one)
    if (entry === undefined)
      problems.push({
        entry: one.policy.service,
        what: 'its policy or its credential was changed in the file',
      })
    else entries.push(entry)
  }
  if (!isMacOf(Buffer.from(document.mac, 'base64url'), sealing.dataKey, contentOf(document)))
    problems.push({
      what: 'the MAC of the file does not fit: an entry was removed, added or changed, or the sequence number was',
    })
  return { entries, problems }
}

/** Adds the MAC. */
export function withMac(dataKey: Buffer, document: Omit<VaultDocument, 'mac'>): VaultDocument {
  return { ...document, mac: macOf(dataKey, contentOf(document)).toString('base64url') }
}

/** Everything in the file but its MAC. */
function contentOf(document: Omit<VaultDocument, 'mac'>): string {
  return canonical({ ...document, mac: undefined } as unknown as Json)
}

/** What is bound to a version: the vault, the entry with its whole policy, the numbers of all its versions, and this version. */
function additionalData(
  { vaultId }: Sealing,
  {
    id,
    policy,
    versions,
  }: Pick<EntryDocument, 'id' | 'policy'> & {
    readonly versions: ReadonlyArray<{ readonly version: number }>
  },
  { version, createdAt, keptUntil }: Omit<VersionDocument, 'sealed'>,
): string {
  const numbers = versions.map((one) => one.version)
  const bound = { format: FORMAT, vaultId, entryId: id, policy, versions: numbers }
  return canonical({ ...bound, version, createdAt, keptUntil } as unknown as Json)
}
