// The browser's side of ttyd's protocol. A connection that was lost is opened again: the keeper of terminals has kept the shell.
// An unattended page tries a few times only, because each attempt counts against the session's rate limit. It tries again when
// somebody looks at it, or when the network is back.

const SESSION_ENDED = 4401
/** The codes after which a new connection makes no sense by itself: the shell has ended, or the password is wrong. */
const FINAL = new Set([1000, 1008])
/** What a close means, by its reason, and else by its code. */
const MEANINGS = new Map([
  ['continued elsewhere', 'This terminal is open in another tab.'],
  ['ended by its owner', 'This shell was ended by its owner.'],
  [1000, 'The shell has ended.'],
  [1008, 'The password is wrong.'],
  [1012, 'The workspace is restarting.'],
])
/** The pauses before each attempt to connect again, in milliseconds. */
const PAUSES_MS = [100, 500, 1000, 2000, 4000, 8000]
/** A connection that was open for this long was a good one: the next loss gets all attempts again. In milliseconds. */
const STABLE_MS = 10_000
/** How long the workspace may take to answer, in milliseconds. Without a limit a dead network would hold the page up. */
const ANSWER_MS = 15_000
/** The shell is paused when this many bytes are not yet displayed, and resumed when a quarter of them is left. */
const HIGH_WATER_BYTES = 512 * 1024

const notice = document.querySelector('#notice')
const encoder = new TextEncoder()
const decoder = new TextDecoder()

const styles = getComputedStyle(document.documentElement)
const look = (name) => styles.getPropertyValue(`--${name}`).trim()

const term = new globalThis.Terminal({
  cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
  fontFamily: look('mono'),
  fontSize: 14,
  lineHeight: 1.15,
  scrollback: 5000,
  theme: {
    background: look('screen'),
    foreground: look('on-screen'),
    cursor: look('accent'),
  },
})
const fit = new globalThis.FitAddon.FitAddon()
globalThis.term = term
term.loadAddon(fit)
term.open(document.querySelector('#terminal'))
followView()
fit.fit()
const translated = globalThis.terminalKeys(term, document.querySelector('#keys'))

/** The open WebSocket, or null. */
let socket = null
let connecting = false
/** How many attempts to connect again were made since a good connection was lost; null when none was lost. */
let attempts = null
let nextAttempt = 0

async function connect() {
  if (connecting || socket !== null) return
  connecting = true
  clearTimeout(nextAttempt)
  say('Connecting…')
  try {
    const answer = await fetch('token', {
      cache: 'no-store',
      headers: { accept: 'application/json' },
      signal: AbortSignal.timeout(ANSWER_MS),
    })
    if (answer.ok) open((await answer.json()).token)
    else explain(answer)
  } catch {
    connectAgain('The workspace cannot be reached.')
  }
  connecting = false
}

/** Connects again after a pause, if a connection was lost; after the last attempt it waits for somebody. */
function connectAgain(text) {
  const pause = attempts === null ? undefined : PAUSES_MS[attempts]
  sayReconnect(text)
  if (pause === undefined) return
  attempts += 1
  nextAttempt = setTimeout(connect, pause)
}

/** Connects at once, with further attempts, because somebody is here again. */
function connectNow() {
  if (attempts === null || socket !== null || document.hidden) return
  attempts = 0
  void connect()
}

/** Shows why there is no terminal, from the response to the token request: a page cannot read a refused handshake's response. */
function explain(answer) {
  const seconds = Number(answer.headers.get('retry-after'))
  if (answer.status === 401) saySignIn()
  else if (answer.status === 429) sayReconnect(`Too many requests. Wait ${seconds || 60} seconds.`)
  else connectAgain('The terminal does not answer.')
}

function open(token) {
  const url = new URL('ws', location.href)
  url.protocol = url.protocol.replace('http', 'ws')
  url.search = location.search // the tab, by which the keeper of terminals knows the shell
  const line = new WebSocket(url, ['tty'])
  line.binaryType = 'arraybuffer'
  socket = line
  let openedAt = null
  const show = screenFor(line)
  line.addEventListener('open', () => {
    openedAt = performance.now()
    term.reset()
    fit.fit()
    line.send(
      encoder.encode(JSON.stringify({ AuthToken: token, columns: term.cols, rows: term.rows })),
    )
    hideNotice()
    term.focus()
  })
  line.addEventListener('message', ({ data }) => {
    const bytes = new Uint8Array(data)
    const rest = bytes.subarray(1)
    const kind = String.fromCharCode(bytes[0])
    if (kind === '0') show(rest)
    else if (kind === '1') document.title = decoder.decode(rest)
    else if (kind === '2') Object.assign(term.options, JSON.parse(decoder.decode(rest)))
  })
  line.addEventListener('close', ({ code, reason }) => {
    socket = null
    const meaning = MEANINGS.get(reason) ?? MEANINGS.get(code)
    if (FINAL.has(code)) attempts = null
    else if (openedAt !== null && performance.now() - openedAt >= STABLE_MS) attempts = 0
    else if (openedAt !== null) attempts ??= 0
    if (code === SESSION_ENDED) saySignIn()
    else if (openedAt === null) connectAgain('The terminal could not be opened.')
    else connectAgain(meaning ?? 'The connection has ended.')
  })
}

/** Writes output to the screen, and pauses the shell while the screen is behind. */
function screenFor(line) {
  let pending = 0
  let paused = false
  const tell = (command) => line.readyState === WebSocket.OPEN && line.send(encoder.encode(command))
  return (bytes) => {
    pending += bytes.length
    term.write(bytes, () => {
      pending -= bytes.length
      if (!paused || pending > HIGH_WATER_BYTES / 4) return
      paused = false
      tell('3')
    })
    if (paused || pending < HIGH_WATER_BYTES) return
    paused = true
    tell('2')
  }
}

function sendText(text) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(encoder.encode(`0${text}`))
}

function sendBytes(binary) {
  if (socket?.readyState !== WebSocket.OPEN) return
  socket.send(Uint8Array.from(`0${binary}`, (character) => character.charCodeAt(0)))
}

function say(text, ...actions) {
  notice.replaceChildren(text, ...actions)
  notice.hidden = false
}

function hideNotice() {
  notice.hidden = true
  notice.replaceChildren()
}

function sayReconnect(text) {
  const button = document.createElement('button')
  button.type = 'button'
  button.textContent = matchMedia('(pointer: coarse)').matches
    ? 'Reconnect'
    : 'Press Enter to reconnect'
  button.addEventListener('click', connect)
  say(text, button)
}

function saySignIn() {
  attempts = null
  const link = document.createElement('a')
  link.href = '/'
  link.textContent = 'Sign in'
  say('Your session has ended. Sign in again.', link)
}

/** Keeps the page as high as what is seen of it: a phone's keyboard covers the rest, and moves it on some phones. */
function followView() {
  const { height, offsetTop, scale } = globalThis.visualViewport
  if (scale > 1.01) return // somebody looks at a part of it closely
  const { body, documentElement } = document
  body.style.setProperty('--seen-height', `${height}px`)
  body.style.setProperty('--seen-top', `${offsetTop}px`)
  body.toggleAttribute('data-keyboard', height < documentElement.clientHeight * 0.75)
}

/** Scrolls with a finger, line by line, which xterm.js does not. */
function scrollByFinger() {
  const screen = term.element.querySelector('.xterm-screen')
  let fromY = null
  const listen = (type, listener) => screen.addEventListener(type, listener, { passive: true })
  listen('touchstart', ({ touches }) => {
    fromY = touches.length === 1 ? touches[0].clientY : null
  })
  listen('touchmove', ({ touches }) => {
    if (fromY === null) return
    const [{ clientX, clientY }] = touches
    const lineHeight = screen.clientHeight / term.rows
    const lines = Math.trunc((fromY - clientY) / lineHeight)
    fromY -= lines * lineHeight
    if (lines !== 0) scroll(lines, { clientX, clientY })
  })
  // A program that fills the screen scrolls by itself, as with a wheel.
  function scroll(lines, place) {
    const { buffer, modes } = term
    if (buffer.active.type === 'normal' && modes.mouseTrackingMode === 'none') {
      term.scrollLines(lines)
      return
    }
    const step = { deltaY: Math.sign(lines), deltaMode: WheelEvent.DOM_DELTA_LINE, ...place }
    for (let i = 0; i < Math.abs(lines); i++)
      screen.dispatchEvent(new WheelEvent('wheel', { ...step, bubbles: true, cancelable: true }))
  }
}

/** Makes the ways out reachable by keyboard: the terminal itself takes Tab. */
function leaveByKey() {
  const back = document.querySelector('#back')
  term.textarea.setAttribute('aria-describedby', 'leave')
  term.attachCustomKeyEventHandler((event) => {
    if (event.key !== 'Escape' || !event.shiftKey) return true
    event.preventDefault()
    back.focus()
    return false
  })
}

term.onData((data) => {
  const text = translated(data)
  if (text === '') return
  if (socket !== null) sendText(text)
  else if (text === '\r') void connect()
})
term.onBinary(sendBytes)
term.onResize(({ cols, rows }) => {
  if (socket?.readyState !== WebSocket.OPEN) return
  socket.send(encoder.encode(`1${JSON.stringify({ columns: cols, rows })}`))
})
leaveByKey()
scrollByFinger()
for (const change of ['resize', 'scroll'])
  globalThis.visualViewport.addEventListener(change, followView)
addEventListener('online', connectNow)
document.addEventListener('visibilitychange', connectNow)
new ResizeObserver(() => fit.fit()).observe(document.querySelector('#terminal'))

void connect()

// This makes the file a module, so that its names are not global.
export {}
