/** What is an entry of the vault in a test? One that allows everything to a loopback service, unless the test says otherwise. */
import type { Entry, Policy } from '../../src/vault/policy.ts'

/** A credential of the usual kind. */
export const CREDENTIAL = 'ghp_Zq4Wm7Xn2Cv5Bb8Nk1Lj3Hg6Fd9Sa0Pe'

/** An entry with one version. */
export function entryOf(policy: Partial<Policy> = {}, value: string | Buffer = CREDENTIAL): Entry {
  return {
    id: 'entry-1',
    policy: {
      service: 'github',
      kind: 'header',
      origin: 'http://127.0.0.1:1',
      slot: { header: 'authorization', template: 'Bearer {}' },
      methods: ['DELETE', 'GET', 'HEAD', 'PATCH', 'POST', 'PUT'],
      paths: ['/'],
      headers: [],
      grants: ['coder'],
      allowPrivate: true,
      upgrade: false,
      decode: false,
      suspended: false,
      note: '',
      ...policy,
    },
    versions: [{ version: 2, createdAt: 0, keptUntil: undefined, value: Buffer.from(value) }],
  }
}
