// A WebSocket to try out. The user opens and closes it; the page never does.

const SESSION_ENDED = 4401
const RESTARTING = 1012

const form = document.querySelector('#echo-form')
const input = document.querySelector('#echo-text')
const send = document.querySelector('#echo-send')
const toggle = document.querySelector('#echo-switch')
const log = document.querySelector('#echo-log')
let socket = null

toggle.addEventListener('click', () => {
  if (socket === null) connect()
  else socket.close(1000)
})

form.addEventListener('submit', (event) => {
  event.preventDefault()
  if (socket?.readyState !== WebSocket.OPEN) return
  socket.send(input.value)
  add('mine', input.value)
  input.value = ''
})

function connect() {
  const url = new URL('/api/ws', location.href)
  url.protocol = url.protocol.replace('http', 'ws')
  let opened = false
  socket = new WebSocket(url)
  toggle.textContent = 'Cancel'
  socket.addEventListener('open', () => {
    opened = true
    setOpen(true)
    add('said', 'Connected.')
    input.focus()
  })
  socket.addEventListener('message', ({ data }) => add('theirs', data))
  socket.addEventListener('close', ({ code }) => {
    socket = null
    setOpen(false)
    if (!opened) add('trouble', 'No connection. Too many requests, or not signed in any more?')
    else if (code === SESSION_ENDED) add('trouble', 'Your session has ended. Sign in again.')
    else if (code === RESTARTING) add('trouble', 'The workspace is restarting.')
    else add('said', `Closed (${code}).`)
  })
}

function setOpen(open) {
  input.disabled = !open
  send.disabled = !open
  toggle.textContent = open ? 'Disconnect' : 'Connect'
}

function add(kind, text) {
  log.querySelector('.empty')?.remove()
  const line = document.createElement('p')
  line.className = kind
  line.textContent = text
  log.append(line)
  log.scrollTop = log.scrollHeight
}

// This makes the file a module, so that its names are not global.
export {}
