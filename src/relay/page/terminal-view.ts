/**
 * What does a terminal look like on a phone? It fills what is seen of the page, with a bar to leave it above, and the keys that a phone's
 * keyboard lacks below. What is typed and printed goes through the channel; this file knows only the screen.
 */
import { FitAddon } from '@xterm/addon-fit'
import { Terminal } from '@xterm/xterm'
import { ARROW_KEYS, SIGN_KEYS, terminalKeys } from '../../answers/scripts/terminal-keys.ts'
import { withAdoptedStyles } from './adopted-styles.ts'
import { actButton, el } from './dom.ts'

/** Who takes what a person does. */
export interface TerminalListener {
  /** Something was typed. */
  onInput(bytes: Uint8Array): void
  onResize(columns: number, rows: number): void
  /** The person wants to go back to the workspace. */
  onLeave(): void
  /** The person wants a new shell, after the last one has ended. */
  onAgain(): void
}

/** A terminal in the page. */
export interface TerminalView {
  readonly element: HTMLElement
  readonly columns: number
  readonly rows: number
  /** Shows what a shell has printed. Resolves when it was drawn: until then no more should be read. */
  write(bytes: Uint8Array): Promise<void>
  /** Says something above the screen; an empty text says nothing. @param again what a button says that asks for a shell again; default: there is none */
  say(text: string, again?: string): void
  /** Shows a form above the screen, with the focus in it. */
  ask(form: HTMLElement): void
  /** Puts the focus into the terminal, and an empty screen. */
  begin(): void
  remove(): void
}

/** The keys of the row: the character that each types, what it shows, and its name. */
const KEYS = [
  ['\u001B', 'Esc', 'Esc'],
  ['\t', 'Tab', 'Tab'],
] as const

/** Puts a terminal into the page. */
export function openTerminalView(listener: TerminalListener): TerminalView {
  const screen = el('div', { class: 'screen' })
  const notice = el('div', { class: 'notice', attributes: { role: 'status' } })
  notice.hidden = true
  const keys = keyRow()
  const leave = actButton('Back', () => listener.onLeave(), 'leave')
  const element = el(
    'section',
    { class: 'terminal-view', attributes: { 'aria-label': 'Terminal' } },
    el('header', {}, leave, el('span', { class: 'hint' }, 'Shift+Esc leaves the terminal')),
    el('div', { class: 'screen-place' }, screen, notice),
    keys,
  )
  document.body.append(element)
  document.body.classList.add('in-terminal')
  const stopFollowing = followView()
  const { terminal, fit } = openTerminal(screen, leave)
  const stopTyping = connectKeys(terminal, keys, listener)
  const stopScrolling = scrollByFinger(terminal)
  const watch = new ResizeObserver(() => fit.fit())
  watch.observe(screen)
  return {
    element,
    get columns() {
      return terminal.cols
    },
    get rows() {
      return terminal.rows
    },
    write(bytes) {
      const { promise, resolve } = Promise.withResolvers<void>()
      terminal.write(bytes, resolve)
      return promise
    },
    say(text, again) {
      notice.hidden = text === ''
      const button = again === undefined ? [] : [actButton(again, () => listener.onAgain())]
      notice.replaceChildren(text, ...button)
    },
    ask(form) {
      notice.hidden = false
      notice.replaceChildren(form)
      form.querySelector('input')?.focus()
    },
    begin() {
      terminal.reset()
      terminal.focus()
    },
    remove() {
      for (const stop of [stopFollowing, stopTyping, stopScrolling]) stop()
      watch.disconnect()
      terminal.dispose()
      element.remove()
      document.body.classList.remove('in-terminal')
    },
  }
}

/** Opens xterm.js. Shift+Esc goes to `leave`, because the terminal itself takes Tab. */
function openTerminal(
  screen: HTMLElement,
  leave: HTMLElement,
): { readonly terminal: Terminal; readonly fit: FitAddon } {
  const styles = getComputedStyle(screen)
  const look = (name: string) => styles.getPropertyValue(`--${name}`).trim()
  const terminal = new Terminal({
    cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
    fontFamily: look('mono'),
    fontSize: 14,
    lineHeight: 1.15,
    scrollback: 5000,
    theme: {
      background: look('screen'),
      foreground: look('on-screen'),
      cursor: look('on-screen'),
    },
    screenReaderMode: false,
  })
  const fit = new FitAddon()
  terminal.loadAddon(fit)
  withAdoptedStyles(() => terminal.open(screen))
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.key !== 'Escape' || !event.shiftKey) return true
    event.preventDefault()
    leave.focus()
    return false
  })
  fit.fit()
  return { terminal, fit }
}

/** Hands on what is typed, also with the row of keys. */
function connectKeys(
  terminal: Terminal,
  keys: HTMLElement,
  listener: TerminalListener,
): () => void {
  const translated = terminalKeys(terminal, keys)
  const encoder = new TextEncoder()
  const typed = [
    terminal.onData((data) => {
      const text = translated(data)
      if (text !== '') listener.onInput(encoder.encode(text))
    }),
    terminal.onBinary((data) =>
      listener.onInput(Uint8Array.from(data, (character) => character.charCodeAt(0))),
    ),
    terminal.onResize(({ cols, rows }) => listener.onResize(cols, rows)),
  ]
  return () => {
    for (const each of typed) each.dispose()
  }
}

function keyRow(): HTMLElement {
  const button = (attributes: Readonly<Record<string, string>>, label: string) =>
    el('button', { attributes: { type: 'button', ...attributes } }, label)
  const ctrl = button({ id: 'ctrl', 'aria-pressed': 'false' }, 'Ctrl')
  const key = ([character, label, name]: readonly [string, string, string]) =>
    button({ 'data-code': String(character.charCodeAt(0)), 'aria-label': name }, label)
  const arrow = ([letter, label, name]: readonly [string, string, string]) =>
    button({ 'data-arrow': letter, 'aria-label': name }, label)
  const [escape, tab] = KEYS.map(key)
  return el(
    'div',
    { class: 'keys', attributes: { role: 'group', 'aria-label': 'Keys' } },
    ...[escape, tab, ctrl, ...ARROW_KEYS.map(arrow), ...SIGN_KEYS.map(key)],
  )
}

/** Keeps the terminal as high as what is seen of the page: a phone's keyboard covers the rest, and moves it on some phones. */
function followView(): () => void {
  const view = globalThis.visualViewport
  if (view === null) return () => {}
  const follow = () => {
    const { height, offsetTop, scale } = view
    if (scale > 1.01) return // somebody looks at a part of it closely
    const { body, documentElement } = document
    body.style.setProperty('--seen-height', `${height}px`)
    body.style.setProperty('--seen-top', `${offsetTop}px`)
    body.toggleAttribute('data-keyboard', height < documentElement.clientHeight * 0.75)
  }
  for (const change of ['resize', 'scroll']) view.addEventListener(change, follow)
  follow()
  return () => {
    for (const change of ['resize', 'scroll']) view.removeEventListener(change, follow)
  }
}

/** Scrolls with a finger, line by line, which xterm.js does not. */
function scrollByFinger(terminal: Terminal): () => void {
  const screen = terminal.element?.querySelector<HTMLElement>('.xterm-screen')
  if (screen === null || screen === undefined) return () => {}
  const over = new AbortController()
  const options = { passive: true, signal: over.signal }
  let fromY: number | undefined
  screen.addEventListener(
    'touchstart',
    ({ touches }) => {
      fromY = touches.length === 1 ? touches[0]?.clientY : undefined
    },
    options,
  )
  screen.addEventListener(
    'touchmove',
    ({ touches: [touch] }) => {
      if (fromY === undefined || touch === undefined) return
      const lineHeight = screen.clientHeight / terminal.rows
      const lines = Math.trunc((fromY - touch.clientY) / lineHeight)
      fromY -= lines * lineHeight
      if (lines !== 0) scroll(terminal, screen, lines, touch)
    },
    options,
  )
  return () => over.abort()
}

/** Scrolls by lines. A program that fills the screen scrolls by itself, as with a wheel. */
function scroll(
  terminal: Terminal,
  screen: HTMLElement,
  lines: number,
  { clientX, clientY }: Touch,
): void {
  const { buffer, modes } = terminal
  if (buffer.active.type === 'normal' && modes.mouseTrackingMode === 'none') {
    terminal.scrollLines(lines)
    return
  }
  const place = { clientX, clientY, bubbles: true, cancelable: true }
  const step = { deltaY: Math.sign(lines), deltaMode: WheelEvent.DOM_DELTA_LINE, ...place }
  for (let i = 0; i < Math.abs(lines); i++) screen.dispatchEvent(new WheelEvent('wheel', step))
}
