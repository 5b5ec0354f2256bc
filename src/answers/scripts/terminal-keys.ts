/**
 * Which keys does a phone's keyboard lack in a shell, and what do they send? The lists are for the page that draws them. The function runs in
 * the browser: it may be sent as text, so it uses nothing from outside itself.
 */
import type { Terminal } from '@xterm/xterm'

/** The arrows of a row of keys: the letter that each sends behind `ESC [`, what it shows, and its name. */
export const ARROW_KEYS = [
  ['A', '↑', 'Up'],
  ['B', '↓', 'Down'],
  ['D', '←', 'Left'],
  ['C', '→', 'Right'],
] as const

/** The signs of a row of keys: the character that each types, what it shows, and its name. */
export const SIGN_KEYS = [
  ['|', '|', 'Pipe'],
  ['/', '/', 'Slash'],
  ['-', '-', 'Minus'],
  ['~', '~', 'Tilde'],
] as const

/**
 * Gives the buttons of `row` their meaning. A button with `data-code` types the character with that code, one with `data-arrow`
 * that arrow, and `#ctrl` makes a control character of the next key, also of one on the phone's own keyboard.
 *
 * @returns translates what the terminal hands over, before it is sent to the shell
 */
export function terminalKeys(term: Terminal, row: HTMLElement): (data: string) => string {
  const HOLD_MS = 400
  const REPEAT_MS = 60
  const ctrl = row.querySelector('#ctrl')
  /** Whether the first character of the word that is being composed was sent as a control character. */
  let isEaten = false
  let repeats: ReturnType<typeof setTimeout> | undefined
  let isHeld = false

  // A button that takes the focus would close the phone's keyboard.
  row.addEventListener('mousedown', (event) => event.preventDefault())
  row.addEventListener('contextmenu', (event) => event.preventDefault())
  row.addEventListener('click', ({ target }) => {
    const key = keyOf(target)
    if (key === ctrl) setCtrl(!isCtrl())
    else if (key !== null && !isHeld) press(key)
    isHeld = false
  })
  row.addEventListener('pointerdown', ({ target }) => {
    const key = keyOf(target)
    isHeld = false
    if (key?.dataset['arrow'] !== undefined) repeatAfter(HOLD_MS, key)
  })
  // Scrolling the row is a pointercancel.
  for (const end of ['pointerup', 'pointercancel', 'pointerleave'])
    row.addEventListener(end, () => clearTimeout(repeats))

  // A keyboard that suggests words hands a word over when it is complete. Ctrl does not wait for that.
  term.element?.addEventListener('compositionstart', () => (isEaten = false), true)
  term.element?.addEventListener('compositionupdate', ({ data }) => compose(data), true)

  return (data) => {
    // An arrow, or what the terminal itself tells a program that asked.
    if (data.startsWith('\u001B')) return data
    if (isEaten && data >= ' ') {
      isEaten = false
      return data.slice(1)
    }
    if (!isCtrl()) return data
    setCtrl(false)
    return controlOf(data) ?? data
  }

  function compose(word: string) {
    if (word === '') isEaten = false
    const control = isCtrl() ? controlOf(word) : undefined
    if (control === undefined) return
    setCtrl(false)
    term.input(control)
    isEaten = true
  }

  function isCtrl(): boolean {
    return ctrl?.getAttribute('aria-pressed') === 'true'
  }

  function setCtrl(on: boolean) {
    ctrl?.setAttribute('aria-pressed', String(on))
  }

  function keyOf(target: EventTarget | null): HTMLElement | null {
    return target instanceof Element ? target.closest('button') : null
  }

  function press(key: HTMLElement) {
    const { code, arrow } = key.dataset
    if (arrow === undefined) term.input(String.fromCharCode(Number(code)))
    else if (isCtrl()) term.input(`\u001B[1;5${arrow}`)
    else term.input(`\u001B${term.modes.applicationCursorKeysMode ? 'O' : '['}${arrow}`)
    setCtrl(false)
  }

  function repeatAfter(pauseMs: number, key: HTMLElement) {
    clearTimeout(repeats)
    repeats = setTimeout(() => {
      isHeld = true
      press(key)
      repeatAfter(REPEAT_MS, key)
    }, pauseMs)
  }

  /** The control character of a key, as terminals have had it since the VT100; undefined for keys that have none. */
  function controlOf(key: string): string | undefined {
    const others: Record<string, string> = { ' ': '\u0000', '?': '\u007F', '/': '\u001F' }
    if (/^[@-_a-z]$/.test(key)) return String.fromCharCode(key.charCodeAt(0) & 0x1f)
    return others[key]
  }
}
