/** What is a vault in an attack test? A forwarder behind a small door on a loopback port, with an audit log in memory. */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import pino from 'pino'
import type { Test } from 'tap'
import type { AuditFacts, UseAudit } from '../../src/vault/audit-row.ts'
import { Forwarder, type ForwarderOptions } from '../../src/vault/forward/forwarder.ts'
import { Reflections } from '../../src/vault/forward/reflections.ts'
import type { Entry, Policy, Version } from '../../src/vault/policy.ts'
import type { Use } from '../../src/vault/use.ts'
import { CREDENTIAL, entryOf } from './vault-entry.ts'

/** A lease as an agent presents it. */
export const LEASE = 'Authorization: Bearer hvl_0123456789abcdefghijklmnopqrstuv'

/** How a test's vault differs from the usual one. */
export interface VaultOptions extends Pick<
  ForwarderOptions,
  'extraCa' | 'lookup' | 'timeouts' | 'now' | 'stopwatch'
> {
  readonly policy?: Partial<Policy>
  readonly value?: string | Buffer
  /** Versions that are kept besides the newest. */
  readonly kept?: readonly Version[]
}

/** A vault with one entry, `github`, which any request may use under `/s/github`. */
export interface TestVault {
  readonly port: number
  /** The rows of the audit log, in order. */
  readonly rows: readonly AuditFacts[]
  /** The last rows of the uses: how they ended. */
  readonly endings: () => readonly (string | undefined)[]
  /** Everything that was logged. */
  readonly log: () => string
  readonly isSuspended: () => boolean
  /** Revokes the lease. */
  readonly revoke: () => void
  /** From now on, requests are those of another agent. */
  readonly useAs: (agent: string) => void
  /** Changes the entry, of which the forwarder hears. */
  readonly change: (policy: Partial<Policy>) => void
  /** From now on the audit log cannot be written. */
  readonly failAudit: () => void
}

class MemoryAudit implements UseAudit {
  readonly rows: AuditFacts[] = []
  isBroken = false

  write(facts: AuditFacts): number {
    if (this.isBroken) throw new Error('ENOSPC')
    return this.rows.push(facts)
  }

  async writeSoon(facts: AuditFacts): Promise<number> {
    return this.write(facts)
  }

  async writeLater(facts: AuditFacts): Promise<void> {
    this.write(facts)
  }
}

/** Starts a vault whose entry leads to a service. */
export async function startVault(
  t: Test,
  origin: string,
  options: VaultOptions = {},
): Promise<TestVault> {
  const { policy = {}, value = CREDENTIAL, kept = [], ...rest } = options
  let entry: Entry = entryOf({ origin, ...policy }, value)
  let agent = 'coder'
  const audit = new MemoryAudit()
  const lease = new AbortController()
  const lines: string[] = []
  const suspend = () => {
    entry = { ...entry, policy: { ...entry.policy, suspended: true } }
  }
  const reflections = new Reflections({ suspend, now: options.now })
  const forwarder = new Forwarder({
    ...rest,
    audit,
    logger: pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) }),
    onReflected: (found) => reflections.note(found),
    versionsOf: (found) => [...kept, ...found.versions],
  })
  const useOf = ({ url = '' }: IncomingMessage): Use | undefined => {
    const [, path = '', query = ''] = /^\/s\/github(\/[^?]*)(\?.*)?$/s.exec(url) ?? []
    if (path === '') return undefined
    return {
      ...{ agent, entry, path, query },
      lease: { shortHash: '0a1b2c3d', revoked: lease.signal },
    }
  }
  const server = createServer((request, response) => {
    const use = useOf(request)
    if (use === undefined) response.writeHead(400).end()
    else void forwarder.forward(use, request, response)
  })
  server.on('upgrade', (request, socket, head) => {
    const use = useOf(request)
    if (use === undefined) socket.destroy()
    else void forwarder.upgrade(use, request, socket, head)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    lease.abort()
    void forwarder.close()
    server.closeAllConnections()
    server.close()
  })
  return {
    port: (server.address() as AddressInfo).port,
    rows: audit.rows,
    endings: () =>
      audit.rows.filter(({ reason }) => reason !== undefined).map(({ reason }) => reason),
    log: () => lines.join(''),
    isSuspended: () => entry.policy.suspended,
    revoke: () => lease.abort(),
    useAs: (other) => void (agent = other),
    change: (changed) => {
      const before = entry
      entry = { ...entry, policy: { ...entry.policy, ...changed } }
      forwarder.follow(before)
    },
    failAudit: () => void (audit.isBroken = true),
  }
}
