// The browser's side of ttyd's protocol. It never reconnects by itself, because an unattended page that does so would use up
// the rate limit of everybody behind the same address.

const SESSION_ENDED = 4401
const GOING_AWAY = { 1012: 'The workspace is restarting.', 1000: 'The shell has ended.' }
/** The shell is paused when this many bytes are not yet displayed, and resumed when a quarter of them is left. */
const HIGH_WATER_BYTES = 512 * 1024

const notice = document.querySelector('#notice')
const encoder = new TextEncoder()
const decoder = new TextDecoder()

const term = new globalThis.Terminal({
  cursorBlink: true,
  fontFamily: 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  fontSize: 14,
  lineHeight: 1.15,
  scrollback: 5000,
  theme: { background: '#14171c', foreground: '#e6e8ec', cursor: '#8ab4ff' },
})
const fit = new globalThis.FitAddon.FitAddon()
globalThis.term = term
term.loadAddon(fit)
term.open(document.querySelector('#terminal'))
fit.fit()

/** The open WebSocket, or null. */
let socket = null
let connecting = false

async function connect() {
  if (connecting || socket !== null) return
  connecting = true
  say('Connecting…')
  try {
    const answer = await fetch('token', {
      cache: 'no-store',
      headers: { accept: 'application/json' },
    })
    if (answer.ok) open((await answer.json()).token)
    else explain(answer)
  } catch {
    sayReconnect('The workspace cannot be reached.')
  }
  connecting = false
}

/** Shows why there is no terminal, from the response to the token request: a page cannot read a refused handshake's response. */
function explain(answer) {
  const seconds = Number(answer.headers.get('retry-after'))
  if (answer.status === 401) saySignIn()
  else if (answer.status === 429) sayReconnect(`Too many requests. Wait ${seconds || 60} seconds.`)
  else sayReconnect('The terminal does not answer.')
}

function open(token) {
  const url = new URL('ws', location.href)
  url.protocol = url.protocol.replace('http', 'ws')
  const line = new WebSocket(url, ['tty'])
  line.binaryType = 'arraybuffer'
  socket = line
  let welcomed = false
  const show = screenFor(line)
  line.addEventListener('open', () => {
    welcomed = true
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
  line.addEventListener('close', ({ code }) => {
    socket = null
    if (code === SESSION_ENDED) saySignIn()
    else if (!welcomed) sayReconnect('The terminal could not be opened.')
    else sayReconnect(GOING_AWAY[code] ?? 'The connection has ended.')
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
  button.textContent = 'Press Enter to reconnect'
  button.addEventListener('click', connect)
  say(text, button)
}

function saySignIn() {
  const link = document.createElement('a')
  link.href = '/'
  link.textContent = 'Sign in'
  say('Your session has ended. Sign in again.', link)
}

term.onData((data) => {
  if (socket !== null) sendText(data)
  else if (data === '\r') void connect()
})
term.onBinary(sendBytes)
term.onResize(({ cols, rows }) => {
  if (socket?.readyState !== WebSocket.OPEN) return
  socket.send(encoder.encode(`1${JSON.stringify({ columns: cols, rows })}`))
})
new ResizeObserver(() => fit.fit()).observe(document.querySelector('#terminal'))

void connect()

// This makes the file a module, so that its names are not global.
export {}
