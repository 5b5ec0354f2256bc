/**
 * What does the remote page do? It pairs this browser with a workspace by a link, meets the workspace again whenever it is opened, and
 * shows it. Everything between the two is encrypted; who serves this page can change that, so it is served by the workspace itself.
 */
import { RemoteConnection, type RemoteEvents, type RemoteState } from '../client/connection.ts'
import type { PairedDevice } from '../client/paired-device.ts'
import type { Note } from '../protocol/messages.ts'
import { offerOfLink, type Offer } from '../protocol/offer.ts'
import { BROWSER_SHELF } from './database.ts'
import { deviceName } from './device-name.ts'
import { el, part, sentence } from './dom.ts'
import { homeScreen, textOf } from './home-screen.ts'
import {
  canRun,
  forgetPairing,
  makeKeys,
  readPairing,
  type DeviceKeys,
  type Lasting,
} from './key-store.ts'
import {
  busyScreen,
  cannotRunScreen,
  endedScreen,
  nameScreen,
  startScreen,
  waitingScreen,
  type Screen,
} from './pairing-screens.ts'
import { forgetTerminal, openTerminalScreen, type TerminalScreen } from './terminal-screen.ts'

const shelf = BROWSER_SHELF

class RemotePage {
  #device: PairedDevice | undefined
  #lasting: Lasting = 'kept'
  #connection: RemoteConnection | undefined
  #terminal: TerminalScreen | undefined
  /** Resolves when the pairing is on the disk. */
  #kept: Promise<void> = Promise.resolve()
  /** What the screen shows now, so that a state that comes again does not throw away what was typed. */
  #shown = ''

  /** Begins with the link in the address, or with the workspace that is known, or by asking for a link. */
  async begin(): Promise<void> {
    if (!(await canRun())) {
      // The link stays in the address, to be opened in another browser.
      this.#show('cannot run', cannotRunScreen())
      return
    }
    const link = takeLink()
    await this.#readPairing()
    if (link !== '') this.openLink(link)
    else this.#goOn()
  }

  /** A link was opened or pasted. */
  openLink(link: string): void {
    try {
      this.#askName(offerOfLink(link), undefined)
    } catch (error) {
      this.#disconnect()
      this.#showEnd(textOf(error), true)
    }
  }

  /**
   * The network is back, or somebody looks. A phone that slept may have lost its connection without being told, so the workspace is asked
   * for a sign of life.
   */
  wake(): void {
    const connection = this.#connection
    if (document.hidden || connection === undefined) return
    connection.retryNow()
    if (connection.state.kind === 'open') void this.#look(connection)
  }

  async #look(connection: RemoteConnection): Promise<void> {
    const signal = AbortSignal.timeout(SIGN_OF_LIFE_MS)
    try {
      const answer = await connection.fetch({ path: LIVE, method: 'HEAD', signal })
      await answer.body.cancel()
    } catch {
      const isStill = connection === this.#connection && connection.state.kind === 'open'
      if (signal.aborted && isStill) this.#meetAnew(connection)
    }
  }

  #meetAnew(connection: RemoteConnection): void {
    this.#connection = undefined
    connection.close()
    this.#goOn()
  }

  async #readPairing(): Promise<void> {
    const kept = await readPairing(shelf)
    this.#device = kept?.device
    this.#lasting = kept?.lasting ?? 'kept'
  }

  #goOn(): void {
    if (this.#device === undefined) this.#showStart(undefined)
    else this.#connect(RemoteConnection.meet(this.#device, { events: this.#events() }))
  }

  #showStart(problem: string | undefined): void {
    this.#show(
      `start ${problem}`,
      startScreen(problem, (link) => this.openLink(link)),
    )
  }

  #askName(offer: Offer, problem: string | undefined): void {
    this.#disconnect()
    const screen = nameScreen({
      ...{ offer, problem, name: deviceName(navigator.userAgent) },
      replaced: this.#device?.host,
      onPair: (name) => void this.#pair(offer, name),
      onCancel: () => this.#goOn(),
    })
    this.#show(`name ${problem}`, screen)
  }

  async #pair(offer: Offer, name: string): Promise<void> {
    this.#show('keys', busyScreen('Pairing', 'Making this device’s keys…'))
    const keys = await makeKeys(shelf)
    this.#lasting = keys.lasting
    const pairing = { offer, own: keys.own, kind: 'page', name } as const
    this.#device = undefined
    try {
      this.#connect(RemoteConnection.pair(pairing, { events: this.#events(keys) }))
    } catch (error) {
      this.#askName(offer, textOf(error))
    }
  }

  #connect(connection: RemoteConnection): void {
    this.#connection = connection
    this.#changed(connection.state)
  }

  #events(keys?: DeviceKeys): RemoteEvents {
    return {
      onState: (state) => this.#changed(state),
      onPaired: (device) => this.#paired(device, keys),
      onNote: (note) => showNote(note),
    }
  }

  #paired(device: PairedDevice, keys: DeviceKeys | undefined): void {
    this.#device = device
    if (keys !== undefined) this.#kept = this.#keep(device, keys)
    // Asked for once the key is worth it: without it a browser may delete what it keeps when the disk is full.
    void navigator.storage.persist().catch(() => {})
  }

  async #keep(device: PairedDevice, keys: DeviceKeys): Promise<void> {
    try {
      await keys.keep(device)
    } catch {
      this.#lasting = 'this-visit'
    }
  }

  #changed(state: RemoteState): void {
    showConnection(state)
    switch (state.kind) {
      case 'open':
        if (this.#terminal === undefined) this.#showHome()
        else if (this.#connection !== undefined) this.#terminal.reconnect(this.#connection)
        break
      case 'waiting': {
        const screen = { code: state.code, lasting: this.#lasting }
        this.#show(
          `waiting ${state.code}`,
          waitingScreen({ ...screen, onForget: () => this.#forget() }),
        )
        break
      }
      case 'connecting':
        this.#connecting(state)
        break
      case 'ended':
        this.#ended(state.problem)
        break
    }
  }

  /** While it connects again, what the person looks at stays; the bar says what is going on. */
  #connecting({ problem }: Extract<RemoteState, { kind: 'connecting' }>): void {
    const text = problem === undefined ? 'Looking for the workspace…' : sentence(problem.message)
    this.#terminal?.lost(text)
    if (this.#shown === 'home') return
    const forget = this.#device === undefined ? undefined : () => this.#forget()
    const screen =
      problem === undefined
        ? busyScreen('Connecting', text, () => this.#cancel())
        : endedScreen({
            ...{ text, isTrying: true, onForget: forget },
            onAgain: () => this.#connection?.retryNow(),
            onCancel: forget === undefined ? () => this.#cancel() : undefined,
          })
    this.#show(`connecting ${text}`, screen)
  }

  #ended({ problem, message }: Extract<RemoteState, { kind: 'ended' }>['problem']): void {
    if (problem === 'aborted') return
    const isGone = problem === 'revoked' || problem === 'not-approved'
    this.#disconnect()
    void this.#endWith(sentence(message), isGone ? this.#device : undefined)
  }

  /** After a pairing that has failed, the workspace of before is there again. */
  async #endWith(text: string, gone: PairedDevice | undefined): Promise<void> {
    if (gone !== undefined) {
      forgetTerminal()
      await this.#kept
      await forgetPairing(shelf, gone).catch(() => {})
    }
    const isAnother = this.#device === gone
    if (isAnother) await this.#readPairing()
    this.#showEnd(text, isAnother)
  }

  /** What went wrong, with a way to the workspace that is known. @param isAnother whether it went wrong on the way to another one */
  #showEnd(text: string, isAnother: boolean): void {
    const device = this.#device
    if (device === undefined) {
      this.#showStart(text)
      return
    }
    const again = isAnother ? `Back to ${device.host}` : undefined
    const acts = { onAgain: () => this.#goOn(), onForget: () => this.#forget() }
    this.#show('ended', endedScreen({ text, again, ...acts }))
  }

  #showHome(): void {
    const device = this.#device
    const connection = this.#connection
    if (device === undefined || connection === undefined || this.#shown === 'home') return
    const screen = homeScreen({
      ...{ device, lasting: this.#lasting },
      // The screen stays when the connection is replaced.
      fetch: (request) => (this.#connection ?? connection).fetch(request),
      onTerminal: () => this.#openTerminal(this.#connection ?? connection),
      onForget: () => this.#forget(),
    })
    this.#show('home', screen)
  }

  #openTerminal(connection: RemoteConnection): void {
    this.#terminal = openTerminalScreen(connection, () => {
      this.#terminal = undefined
      this.#changed((this.#connection ?? connection).state)
      part('main').querySelector<HTMLElement>('#terminal button')?.focus()
    })
  }

  #cancel(): void {
    this.#disconnect()
    this.#showStart(undefined)
  }

  #forget(): void {
    this.#disconnect()
    forgetTerminal()
    const device = this.#device
    this.#device = undefined
    if (device !== undefined)
      void this.#kept.then(() => forgetPairing(shelf, device)).catch(() => {})
    this.#showStart(undefined)
  }

  #disconnect(): void {
    this.#closeTerminal()
    this.#connection?.close()
    this.#connection = undefined
    part('connection').textContent = ''
  }

  #closeTerminal(): void {
    this.#terminal?.close()
    this.#terminal = undefined
  }

  #show(name: string, { title, parts }: Screen): void {
    if (this.#shown === name) return
    this.#shown = name
    const main = part('main')
    main.classList.toggle('one', name !== 'home')
    const children = parts.filter((child) => child !== undefined && child !== false)
    main.replaceChildren(el('h1', { attributes: { tabindex: '-1' } }, title), ...children)
    document.title = `${title} · Remote`
    // A screen reader reads on from here, and nobody types into what is gone.
    main.querySelector('h1')?.focus({ preventScroll: true })
    globalThis.scrollTo(0, 0)
  }
}

/** How long the workspace may take for a sign of life, in milliseconds. */
const SIGN_OF_LIFE_MS = 5000

/** Answered by a gateway at once; another service answers something, which is as good. */
const LIVE = '/_gateway/live'

/**
 * Takes the link out of the address, so that it is not in what is shared, nor behind the button that goes back. The browser's list of
 * visited pages has it: no page can prevent that, and the link is good once.
 */
function takeLink(): string {
  const { hash, pathname, search } = location
  if (hash !== '') history.replaceState(null, '', pathname + search)
  return /^#[0-9]+$/.test(hash) ? hash : ''
}

function showConnection(state: RemoteState): void {
  const badge = part('connection')
  const [text, look] = WORDS[state.kind]
  badge.textContent = text
  badge.className = `badge ${look}`
}

const WORDS: Readonly<Record<RemoteState['kind'], readonly [string, string]>> = {
  connecting: ['Connecting', 'warn'],
  waiting: ['Waiting', 'warn'],
  open: ['Connected', 'good'],
  ended: ['Not connected', 'bad'],
}

const NOTES: Readonly<Record<Note['kind'], string>> = {
  approved: 'was approved',
  'device-waiting': 'waits for approval',
  'device-approved': 'was approved',
  'device-revoked': 'was removed',
}

/** Tells what happened to another device: somebody who has stolen a link would be seen here. */
function showNote({ kind, name }: Note): void {
  const old = document.getElementById('note')
  const note = el(
    'p',
    { id: 'note', class: 'done', attributes: { role: 'status' } },
    'Another device, ',
    el('bdi', {}, name),
    `, ${NOTES[kind]}.`,
  )
  if (old === null) part('main').querySelector('h1')?.after(note)
  else old.replaceWith(note)
}

const page = new RemotePage()
addEventListener('online', () => page.wake())
document.addEventListener('visibilitychange', () => page.wake())
addEventListener('hashchange', () => {
  const link = takeLink()
  if (link !== '') page.openLink(link)
})
await page.begin()
