/**
 * What does an entry of the vault say? Its policy: one service, its fixed origin, where the credential goes in a request, and who
 * may ask for what. The policy is bound to the sealed credential (docs/vault.md), so nobody can change it in the file.
 */

/** How the credential is put into a request. More kinds (OAuth 2, GitHub App, SigV4) may come: the name is part of the seal. */
export const KINDS = ['header', 'basic', 'workspace'] as const
export type Kind = (typeof KINDS)[number]

/** Where the credential stands in a request to the service. */
export interface Slot {
  /** The name of the header, in lower case. */
  readonly header: string
  /**
   * The value of the header, with exactly one hole `{}` for the credential: `Bearer {}`. For the kind `basic` it is `user:{}`, and
   * the header's value is `Basic` and its base64 (RFC 7617).
   */
  readonly template: string
}

/** Everything that the owner decides about an entry, besides the credential itself. */
export interface Policy {
  /** The name that agents ask for: `github`. Lower-case letters, digits and hyphens, at most 40. */
  readonly service: string
  readonly kind: Kind
  /** Scheme, host and port, as `new URL(…).origin` writes them: `https://api.github.com`. */
  readonly origin: string
  readonly slot: Slot
  /** The methods that may be used, in upper case, sorted. Never empty. */
  readonly methods: readonly string[]
  /** The path prefixes that may be used, sorted. Each begins with `/` and matches whole segments. Never empty. */
  readonly paths: readonly string[]
  /** The names of request headers that are forwarded besides those of the built-in list, in lower case, sorted. */
  readonly headers: readonly string[]
  /** The agents that may use the entry, sorted. */
  readonly grants: readonly string[]
  /** Whether the origin may have an address that is not public, and may be http on loopback. */
  readonly allowPrivate: boolean
  /** Whether a request may become a WebSocket. */
  readonly upgrade: boolean
  /** Whether an encoded answer is decoded instead of refused. */
  readonly decode: boolean
  /** Whether the entry is not in use, because the service has repeated the credential in its answers. */
  readonly suspended: boolean
  /** What the owner wrote about the entry. */
  readonly note: string
  /**
   * Of the kind `workspace`: the service's name in the vault of the other workspace, when it is not the entry's own. It is part of the
   * seal like the rest, and absent in entries of other kinds.
   */
  readonly remote?: string
}

/** A version of the credential. */
export interface Version {
  /** 1, 2, 3, … An entry never uses a number again. */
  readonly version: number
  /** When it was given to the vault (ms since the epoch). */
  readonly createdAt: number
  /** Until when it is kept after its successor came (ms since the epoch); undefined for the newest. */
  readonly keptUntil: number | undefined
  /** The credential itself. Never printed, logged, or written to a JSON document other than the sealed file. */
  readonly value: Buffer
}

/** An entry of the vault. */
export interface Entry {
  /** Random, made once: an entry that was removed and added again is another one. */
  readonly id: string
  readonly policy: Policy
  /** The newest last. Never empty. */
  readonly versions: readonly Version[]
}

/** The host of an entry's origin, with its port when it is not the default one, as in `Host`. */
export function hostOf({ origin }: Pick<Policy, 'origin'>): string {
  return origin.slice(origin.indexOf('://') + 3)
}

/** The service as the other workspace calls it; undefined for an entry that leads to its service directly. */
export function remoteOf({
  kind,
  service,
  remote,
}: Pick<Policy, 'kind' | 'service' | 'remote'>): string | undefined {
  return kind === 'workspace' ? (remote ?? service) : undefined
}

/** The version that requests use. */
export function newestOf(entry: Entry): Version {
  const newest = entry.versions.at(-1)
  if (newest === undefined) throw new TypeError('an entry without a version')
  return newest
}

/** A shorter credential is refused at `add`, because the scrubber would find it everywhere (bytes). */
export const MIN_VALUE_BYTES = 12

/** A longer credential is refused (bytes): it goes into a header. */
export const MAX_VALUE_BYTES = 4096
