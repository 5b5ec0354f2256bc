/** What does the owner do in `npm run relay:demo`? They run the commands of the link, which are printed with what they answer. */
import { execFile } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { DeviceView, LinkStatus } from '../src/relay/link/owner-protocol.ts'
import { OWNER_PATHS } from '../src/relay/link/owner-protocol.ts'
import { LinkOwner } from '../src/relay/owner-client.ts'
import { askDoor } from '../src/services/ask-door.ts'
import { userName } from './sign-in.ts'

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const OWN_LINK = new URL('own-link.ts', import.meta.url).href

/** How long the link may take to reach its relay, in milliseconds. */
const CONNECT_MS = 20_000
const RETRY_MS = 50

/** How often it is looked whether a device waits, in milliseconds. */
const LOOK_MS = 1000

/** The owner of a workspace. */
export class DemoOwner {
  readonly #folder: string
  readonly #socket: string
  readonly #say: (text: string) => void

  /**
   * @param options.folder the state folder of the workspace
   * @param options.socket the owner's door of its link
   * @param options.say prints a text
   */
  constructor({
    folder,
    socket,
    say,
  }: {
    readonly folder: string
    readonly socket: string
    readonly say: (text: string) => void
  }) {
    this.#folder = folder
    this.#socket = socket
    this.#say = say
  }

  /** Waits until the link has reached its relay. @throws {Error} when it does not in time */
  async connected(signal: AbortSignal): Promise<LinkStatus> {
    const until = performance.now() + CONNECT_MS
    while (performance.now() < until) {
      const status = await this.#status()
      if (status?.isConnected === true) return status
      await delay(RETRY_MS, undefined, { signal })
    }
    throw new Error(`The link has not reached its relay within ${CONNECT_MS / 1000} s.`)
  }

  /** Makes a pairing link, and prints it with its QR code. */
  async pair(): Promise<string> {
    const output = await this.#run('pair', '--sub', userName())
    return output.trim().split('\n').at(-1) ?? ''
  }

  /** Shows the list of devices. @returns the id of the one that waits with a code @throws {Error} when there is none */
  async waiting(code: string): Promise<string> {
    const found = (await this.#waiting()).find((device) => device.code === code)
    await this.#run('devices', 'list')
    if (found === undefined) throw new Error(`No device waits with the code ${code}.`)
    return found.id
  }

  /** Lets a device in. */
  async approve(id: string): Promise<void> {
    await this.#run('devices', 'approve', id)
  }

  /** Says which devices wait, and how they are let in, until the signal. */
  async announce(signal: AbortSignal): Promise<void> {
    const told = new Set<string>()
    while (!signal.aborted) {
      for (const { id, name, code } of await this.#waiting().catch(() => [])) {
        if (told.has(`${id} ${code}`) || code === null) continue
        told.add(`${id} ${code}`)
        this.#say(`\n${name} waits. When it shows ${code} too, let it in:`)
        this.#say(`   ${this.#typed('devices', 'approve', id)}`)
      }
      await delay(LOOK_MS, undefined, { signal }).catch(() => {})
    }
  }

  async #waiting(): Promise<DeviceView[]> {
    const devices = await new LinkOwner(this.#socket).devices()
    return devices.filter(({ state }) => state === 'waiting')
  }

  async #status(): Promise<LinkStatus | undefined> {
    try {
      const question = { method: 'GET', path: OWNER_PATHS.status } as const
      const limits = { limitMs: 2000, maxBytes: 65_536 }
      const { bytes } = await askDoor(this.#socket, { ...question, ...limits })
      return JSON.parse(bytes.toString('utf8')) as LinkStatus
    } catch {
      return undefined // it has not opened its door yet
    }
  }

  /** Runs a command of the link, and prints it with what it answers. */
  async #run(...args: readonly string[]): Promise<string> {
    this.#say(`   $ workspace-gateway ${args.join(' ')}`)
    const env = { PATH: process.env['PATH'], GATEWAY_STATE_DIR: this.#folder }
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', OWN_LINK, MAIN, ...args],
      { env },
    )
    this.#say(stdout.trimEnd().replaceAll(/^/gm, '   '))
    return stdout
  }

  /** A command, as somebody types it in this folder. */
  #typed(command: string, ...args: readonly string[]): string {
    return `GATEWAY_STATE_DIR=${this.#folder} npm run --silent ${command} -- ${args.join(' ')}`
  }
}
