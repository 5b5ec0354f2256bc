/** Where do measurements run? In a lab with one upstream, a temporary folder and the selected peers, all running at once. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram, freePort, startScript, stopAll, type Side } from './child.ts'
import { caddy, caddyAuth } from './peers/caddy.ts'
import { direct } from './peers/direct.ts'
import { gateway } from './peers/gateway.ts'
import { haproxy } from './peers/haproxy.ts'
import { limits, limitsRedis } from './peers/limits.ts'
import { nginx, nginxAuth } from './peers/nginx.ts'
import { bare, refuser, textbook } from './peers/node.ts'
import { relay } from './peers/relay.ts'
import { kept, ttyd } from './peers/terminal.ts'
import { vault } from './peers/vault.ts'
import { SMALL, type Peer, type PeerKind, type PeerName, type Surroundings } from './peers/peer.ts'
import { untilReady } from './ready.ts'

const KINDS: readonly PeerKind[] = [
  direct,
  nginx,
  nginxAuth,
  caddy,
  caddyAuth,
  haproxy,
  textbook,
  bare,
  refuser,
  gateway,
  ttyd,
  kept,
  vault,
  relay,
  limits,
  limitsRedis,
]

/** Programs whose Debian package has another name. */
const PACKAGES: Readonly<Record<string, string>> = { nginx: 'nginx-light' }

/** The message about missing programs and how to install them. */
export function whatIsMissing(programs: readonly string[]): string | undefined {
  const missing = programs.filter((program) => findProgram(program) === undefined)
  if (missing.length === 0) return undefined
  const packages = missing.map((program) => PACKAGES[program] ?? program)
  return `${missing.join(', ')} not installed (Debian: apt-get install ${packages.join(' ')})`
}

/** The environment of the measurements. */
export class Lab {
  readonly folder: string
  readonly upstreamPort: number
  readonly #peers = new Map<PeerName, Promise<Peer>>()

  private constructor(folder: string, upstreamPort: number) {
    this.folder = folder
    this.upstreamPort = upstreamPort
  }

  static async open(): Promise<Lab> {
    const folder = mkdtempSync(join(tmpdir(), 'workspace-gateway-bench-'))
    chmodSync(folder, 0o755) // nginx's worker is another user when root starts it
    const upstreamPort = await freePort()
    const script = new URL('servers/upstream.ts', import.meta.url)
    startScript(script, [String(upstreamPort)], { side: 'load' })
    await untilReady({ port: upstreamPort, path: SMALL })
    return new Lab(folder, upstreamPort)
  }

  /** The reason why a peer cannot be measured on this machine, or undefined. */
  static missing(name: PeerName): string | undefined {
    const { needs } = kindOf(name)
    return needs === undefined ? undefined : whatIsMissing([needs])
  }

  /** A shared peer that runs until the end. */
  peer(name: PeerName): Promise<Peer> {
    const known = this.#peers.get(name)
    if (known !== undefined) return known
    const started = this.fresh(name, 'peer')
    this.#peers.set(name, started)
    return started
  }

  /** A newly started peer, which the caller must stop. */
  fresh(
    name: PeerName,
    side: Side,
    more: Pick<Surroundings, 'nodeOptions' | 'env'> = {},
  ): Promise<Peer> {
    const folder = mkdtempSync(join(this.folder, `${name}-`))
    chmodSync(folder, 0o755)
    return kindOf(name).start({ upstreamPort: this.upstreamPort, folder, side, ...more })
  }

  /** Ends all processes and removes the folder. */
  async close(): Promise<void> {
    await stopAll()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

function kindOf(name: PeerName): PeerKind {
  const kind = KINDS.find((one) => one.name === name)
  if (kind === undefined) throw new Error(`no peer is named ${name}`)
  return kind
}
