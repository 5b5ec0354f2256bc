/** Real Caddy in front, with the configuration that examples/fly ships. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent } from 'node:https'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { once } from 'node:events'
import { freePort, installDebianPackage, run, startProgram, until } from './neighbour.ts'
import type { Program, Started } from './neighbour.ts'

const PROGRAM = '/usr/bin/caddy'

const SHIPPED = readFileSync(new URL('../../examples/fly/Caddyfile', import.meta.url), 'utf8')

/** Installs Debian's package, whose service nobody starts here. */
export async function install(): Promise<string> {
  await installDebianPackage('caddy', PROGRAM)
  return /\d+\.\d+\.\d+/.exec(await run(PROGRAM, ['version']))?.[0] ?? 'unknown'
}

/** A front that runs. */
export interface Caddy extends Started {
  readonly httpsPort: number
  /** The origin of a site, as browsers see it. */
  origin(host: string): string
  /** The certificate of Caddy's own authority, so that clients of Node can trust it. */
  readonly authority: string
  /** An agent for requests of Node that verifies Caddy's certificate. */
  readonly agent: Agent
  readonly program: Program
}

/**
 * Starts Caddy on 127.0.0.1 and ::1, with `tls internal` for every site.
 * @param sites the port of the gateway on 127.0.0.1, for each host
 * @param adapt changes the shipped configuration, for what a test must do without
 */
export async function startCaddy(
  sites: Record<string, number>,
  adapt: (caddyfile: string) => string = (caddyfile) => caddyfile,
): Promise<Caddy> {
  const home = mkdtempSync(join(tmpdir(), 'workspace-gateway-caddy-'))
  const [httpPort, httpsPort] = [await freePort(), await freePort()]
  const file = join(home, 'Caddyfile')
  await writeFile(file, adapt(caddyfileFor(sites)))
  const program = startProgram(PROGRAM, ['run', '--config', file, '--adapter', 'caddyfile'], {
    env: {
      PATH: process.env['PATH'],
      HOME: home,
      XDG_DATA_HOME: home,
      XDG_CONFIG_HOME: home,
      HTTP_PORT: String(httpPort),
      HTTPS_PORT: String(httpsPort),
    },
  })
  const stop = async () => {
    await program.stop()
    rmSync(home, { recursive: true, force: true })
  }
  try {
    for (const host of Object.keys(sites))
      await until(`a certificate for ${host}`, () => handshake(host, httpsPort))
  } catch (error) {
    await stop()
    throw new Error(`Caddy does not serve: ${program.output().slice(-2000)}`, { cause: error })
  }
  const authority = readFileSync(join(home, 'caddy/pki/authorities/local/root.crt'), 'utf8')
  const agent = new Agent({ ca: authority, keepAlive: true })
  return {
    httpsPort,
    origin: (host) => `https://${host}:${httpsPort}`,
    authority,
    agent,
    program,
    async stop() {
      agent.destroy()
      await stop()
    },
  }
}

/** The shipped file with its one site repeated for each of ours. */
function caddyfileFor(sites: Record<string, number>): string {
  const start = SHIPPED.indexOf('{$WORKSPACE_HOST')
  const [globals, site] = [SHIPPED.slice(0, start), SHIPPED.slice(start)]
  return [
    globals.replace('admin off', 'admin off\n\tdefault_bind 127.0.0.1 [::1]'),
    ...Object.entries(sites).map(([host, port]) =>
      site
        .replace(/\{\$WORKSPACE_HOST:[^}]*\}/, host)
        .replace(/\{\$WORKSPACE_UPSTREAM:[^}]*\}/, `127.0.0.1:${port}`),
    ),
  ].join('\n')
}

async function handshake(servername: string, port: number): Promise<true> {
  // Only looks whether there is a certificate: the authority that signs it is being made at this moment.
  const socket = connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false })
  await once(socket, 'secureConnect').finally(() => socket.destroy())
  return true
}
