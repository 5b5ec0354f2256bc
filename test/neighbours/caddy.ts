/** How do the tests run real Caddy? As the front proxy, with the configuration in examples/fly. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, request, type RequestOptions } from 'node:https'
import { writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { once } from 'node:events'
import { freePort, installDebianPackage, run, startProgram, until } from './neighbour.ts'
import type { Program, Started } from './neighbour.ts'

const PROGRAM = '/usr/bin/caddy'

const SHIPPED = readFileSync(new URL('../../examples/fly/Caddyfile', import.meta.url), 'utf8')

/** Installs Debian's package without starting its service. */
export async function install(): Promise<string> {
  await installDebianPackage('caddy', PROGRAM)
  return /\d+\.\d+\.\d+/.exec(await run(PROGRAM, ['version']))?.[0] ?? 'unknown'
}

/** A running Caddy. */
export interface Caddy extends Started {
  readonly httpsPort: number
  /** The origin of a site for browsers. */
  origin(host: string): string
  /** The certificate of Caddy's own authority, so that Node clients can trust it. */
  readonly authority: string
  /** An agent for Node requests that verifies Caddy's certificate. */
  readonly agent: Agent
  readonly program: Program
}

/** A request of a client that is not a browser. */
export interface FrontRequest extends Pick<RequestOptions, 'method' | 'localAddress'> {
  readonly headers?: Record<string, string>
  readonly body?: string
  /** Caddy's address. */
  readonly to?: '127.0.0.1' | '::1'
}

/** Sends a request through Caddy and verifies its certificate. @returns the response; its body is not read yet */
export async function send(
  { agent, httpsPort }: Caddy,
  host: string,
  path: string,
  { headers, body, to = '127.0.0.1', ...rest }: FrontRequest = {},
): Promise<IncomingMessage> {
  const outgoing = request({
    ...rest,
    agent,
    path,
    host: to,
    port: httpsPort,
    servername: host,
    headers: { ...headers, host: `${host}:${httpsPort}` },
  })
  outgoing.end(body)
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  return answer
}

/** Sends a request and reads the whole response. */
export async function ask(
  caddy: Caddy,
  host: string,
  path: string,
  options?: FrontRequest,
): Promise<{ status: number; headers: IncomingMessage['headers']; body: string }> {
  const answer = await send(caddy, host, path, options)
  let body = ''
  for await (const chunk of answer.setEncoding('utf8')) body += String(chunk)
  return { status: answer.statusCode ?? 0, headers: answer.headers, body }
}

/**
 * Starts Caddy on 127.0.0.1 and ::1, with `tls internal` for every site.
 * @param sites the port of the gateway on 127.0.0.1, for each host
 * @param adapt changes the shipped configuration, for tests that need that
 */
export async function startCaddy(
  sites: Record<string, number>,
  adapt: (caddyfile: string) => string = (caddyfile) => caddyfile,
  attempts = 5,
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
  // Caddy 2.6 cleans its storage at the start and may delete the folder of a certificate that it is just creating. It would
  // retry after a minute, so starting Caddy again is faster.
  const isTidiedAway = () => /"will retry"/.test(program.output())
  try {
    for (const host of Object.keys(sites))
      await until(
        `a certificate for ${host}`,
        () => (attempts > 1 && isTidiedAway()) || handshake(host, httpsPort),
      )
    if (attempts > 1 && isTidiedAway()) {
      await stop()
      return await startCaddy(sites, adapt, attempts - 1)
    }
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

/** The shipped file, with its one site repeated for each site of the test. */
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
  // Only check that there is a certificate, because the authority that signs it is still being created.
  const socket = connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false })
  await once(socket, 'secureConnect').finally(() => socket.destroy())
  return true
}
