/**
 * How does a shell of the workspace get onto the screen? It is opened through the connection; the second factor is asked for when the
 * workspace wants one; and after a lost connection the page asks for the shell again.
 */
import type { RemoteConnection } from '../client/connection.ts'
import {
  openTerminal,
  TerminalWantsError,
  type RemoteTerminal,
  type TerminalEnd,
} from '../client/terminal.ts'
import { randomBytes, toBase64Url } from '../protocol/bytes.ts'
import { actButton, alertOf, el, field } from './dom.ts'
import { textOf } from './home-screen.ts'
import { openTerminalView, type TerminalView } from './terminal-view.ts'

/** The terminal's user and password, for as long as the page is open. */
interface Password {
  readonly user: string
  readonly password: string
}

/** What this visit remembers: the workspace asks each time. */
let remembered: Password | undefined

/** Forgets the password and the shell of this tab, with the device. */
export function forgetTerminal(): void {
  remembered = undefined
  sessionStorage.removeItem(TAB)
}

/** A terminal that is on the screen. */
export interface TerminalScreen {
  /** The connection, or another one, is open: the shell is asked for again, unless it has ended by itself. */
  reconnect(connection: RemoteConnection): void
  /** The connection was lost, for the reason that is shown. */
  lost(text: string): void
  close(): void
}

/** Opens a terminal. @param onLeave called when the person goes back, or has given no second factor */
export function openTerminalScreen(
  connection: RemoteConnection,
  onLeave: () => void,
): TerminalScreen {
  return new OpenScreen(connection, onLeave)
}

class OpenScreen implements TerminalScreen {
  #connection: RemoteConnection
  readonly #onLeave: () => void
  readonly #view: TerminalView
  #terminal: RemoteTerminal | undefined
  /** Whether the shell is asked for again when there is a connection. */
  #isLost = false
  /** Whether the shell has ended by itself, or could not be opened. */
  #isOver = false
  /** Counts the attempts, so that what an older one brings is not shown. */
  #attempt = 0

  constructor(connection: RemoteConnection, onLeave: () => void) {
    this.#connection = connection
    this.#onLeave = onLeave
    this.#view = openTerminalView({
      onInput: (bytes) => this.#terminal?.input(bytes),
      onResize: (columns, rows) => this.#terminal?.resize(columns, rows),
      onLeave: () => this.#leave(),
      onAgain: () => void this.#open(),
    })
    void this.#open()
  }

  reconnect(connection: RemoteConnection): void {
    this.#connection = connection
    if (this.#isLost) void this.#open()
  }

  lost(text: string): void {
    if (this.#isOver) return
    this.#attempt++
    this.#isLost = true
    this.#terminal = undefined
    this.#view.say(text)
  }

  close(): void {
    this.#attempt++
    this.#terminal?.close()
    this.#view.remove()
  }

  #leave(): void {
    this.close()
    this.#onLeave()
  }

  async #open(): Promise<void> {
    const attempt = ++this.#attempt
    const isCurrent = () => attempt === this.#attempt
    this.#isLost = false
    this.#isOver = false
    this.#view.say('Opening the terminal…')
    try {
      const { columns, rows } = this.#view
      const terminal = await openTerminal(this.#connection, {
        ...{ columns, rows, password: remembered, tab: tabName() },
        onOutput: (bytes) => (isCurrent() ? this.#view.write(bytes) : undefined),
        onClose: (end) => {
          if (isCurrent()) this.#ended(end)
        },
      })
      if (!isCurrent()) {
        terminal.close()
        return
      }
      this.#terminal = terminal
      this.#view.say('')
      this.#view.begin()
    } catch (error) {
      if (!isCurrent()) return
      if (error instanceof TerminalWantsError) this.#askFor(error)
      else if (this.#connection.state.kind === 'connecting') this.lost(textOf(error))
      else this.#end(textOf(error), 'Try again')
    }
  }

  #ended({ isOver, reason }: TerminalEnd): void {
    const text = isOver ? 'the shell has ended' : reason || 'the connection to the shell has ended'
    this.#end(textOf(text), isOver ? 'New terminal' : 'Try again')
  }

  #end(text: string, again: string): void {
    this.#terminal = undefined
    this.#isOver = true
    this.#view.say(text, again)
  }

  #askFor({ want }: TerminalWantsError): void {
    const onCancel = () => this.#leave()
    if (want === 'factor') {
      const onCode = (code: string) => void this.#showFactor(code)
      this.#view.ask(factorForm({ problem: undefined, onCode, onCancel }))
      return
    }
    const wrong = remembered === undefined ? undefined : 'That user and password are not right.'
    const onPassword = (password: Password) => {
      remembered = password
      void this.#open()
    }
    this.#view.ask(passwordForm({ problem: wrong, onPassword, onCancel }))
  }

  async #showFactor(code: string): Promise<void> {
    const attempt = this.#attempt
    const isCurrent = () => attempt === this.#attempt
    try {
      this.#view.say('Checking the code…')
      await this.#connection.showFactor(code)
      if (isCurrent()) await this.#open()
    } catch (error) {
      const onCode = (next: string) => void this.#showFactor(next)
      const again = { problem: textOf(error), onCode, onCancel: () => this.#leave() }
      if (isCurrent()) this.#view.ask(factorForm(again))
    }
  }
}

/** By which the workspace gives this tab the same shell again, also after the phone has thrown the page away. */
function tabName(): string {
  const kept = sessionStorage.getItem(TAB)
  if (kept !== null) return kept
  const name = toBase64Url(randomBytes(16))
  sessionStorage.setItem(TAB, name)
  return name
}

const TAB = 'workspace-gateway-tab'

function factorForm(options: {
  readonly problem: string | undefined
  readonly onCode: (code: string) => void
  readonly onCancel: () => void
}): HTMLElement {
  const { problem, onCode, onCancel } = options
  const { parts, input } = field('Code of your authenticator app, or a backup code', 'code', {
    ...{ required: '', autocomplete: 'one-time-code', spellcheck: 'false' },
  })
  return wantForm('A second factor', problem, parts, onCancel, () => onCode(input.value.trim()))
}

function passwordForm(options: {
  readonly problem: string | undefined
  readonly onPassword: (password: Password) => void
  readonly onCancel: () => void
}): HTMLElement {
  const { problem, onPassword, onCancel } = options
  const user = field('User', 'user', { required: '', autocapitalize: 'none' })
  const password = field('Password', 'password', { type: 'password', required: '' })
  return wantForm(
    'The terminal’s password',
    problem,
    [...user.parts, ...password.parts],
    onCancel,
    () => onPassword({ user: user.input.value, password: password.input.value }),
  )
}

function wantForm(
  title: string,
  problem: string | undefined,
  parts: readonly Node[],
  onCancel: () => void,
  onAct: () => void,
): HTMLElement {
  const cancel = actButton('Cancel', onCancel, 'quiet')
  const acts = el('p', { class: 'acts' }, el('button', {}, 'Open the terminal'), cancel)
  return el(
    'form',
    { class: 'factor', onAct },
    el('h2', {}, title),
    alertOf(problem),
    ...parts,
    acts,
  )
}
