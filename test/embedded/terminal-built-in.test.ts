/** Does the built-in terminal run a real shell, with ttyd's protocol and password check? */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { startBuiltInTerminal } from '../../embedded/terminal-built-in.ts'
import { BASIC, CREDENTIAL, TOKEN, dial, openShell, refusal } from './terminal-client.ts'
import { isAlive } from '../helpers/waiting.ts'

async function startTerminal(t: Test, keepAlive?: { pingMs: number; cutMs: number }) {
  const terminal = await startBuiltInTerminal(
    {
      credential: CREDENTIAL,
      shell: '/bin/sh',
      env: { PATH: process.env['PATH'], HOME: t.testdirName, PS1: '$ ' },
      onUnexpectedExit: () => {},
    },
    keepAlive,
  )
  t.teardown(terminal.close)
  return terminal
}

t.beforeEach((t) => void t.testdir())

t.test('without the right credential, every path is 401, known or not', async (t) => {
  const { url } = await startTerminal(t)
  const wrong = Buffer.from('user:wrong').toString('base64')
  const credentials = [
    undefined,
    `Basic ${wrong}`,
    `Bearer ${TOKEN}`,
    `Basic  ${TOKEN}`,
    'Basic',
    '',
  ]
  for (const authorization of credentials) {
    const headers = authorization === undefined ? {} : { authorization }
    for (const path of ['/terminal', '/terminal/', '/terminal/token', '/', '/nope']) {
      const answer = await fetch(url + path, { headers, redirect: 'manual' })
      t.equal(answer.status, 401, `${authorization} ${path}`)
      t.equal(answer.headers.get('www-authenticate'), 'Basic realm="ttyd"')
      t.equal(await answer.text(), '')
    }
  }
})

t.test('with the right credential, there are the page, its token, and nothing else', async (t) => {
  const { url } = await startTerminal(t)
  const get = (path: string) => fetch(url + path, { headers: BASIC, redirect: 'manual' })
  const bare = await get('/terminal?x=1')
  t.equal(bare.status, 302)
  t.equal(bare.headers.get('location'), '/terminal/')
  t.same(await (await get('/terminal/token')).json(), { token: TOKEN })
  t.equal((await get('/terminal/nope')).status, 404)
  t.equal((await get('/terminal/ws')).status, 404)
})

t.test('the page contains everything that it needs, compressed or not', async (t) => {
  const { url } = await startTerminal(t)
  const pages = ['gzip', 'identity'].map(async (encoding) => {
    const headers = { ...BASIC, 'accept-encoding': encoding }
    const answer = await fetch(`${url}/terminal/`, { headers })
    t.equal(answer.headers.get('content-encoding'), encoding === 'gzip' ? 'gzip' : null)
    return await answer.text()
  })
  const [zipped = '', plain = ''] = await Promise.all(pages)
  t.ok(zipped === plain, 'the same page')
  t.match(plain, 'Press Enter to reconnect')
  t.notMatch(plain, /<(?:script|link|img)[^>]+(?:src|href)="(?!data:)/)
  t.equal(plain.split('</script>').length, 5, 'no script ends early')
  t.notMatch(plain, CREDENTIAL.split(':')[1])
})

t.test('a handshake without the right credential is refused before anything else', async (t) => {
  const { url } = await startTerminal(t)
  for (const authorization of [undefined, 'Basic dXNlcjp3cm9uZw==', `Bearer ${TOKEN}`]) {
    const headers = authorization === undefined ? {} : { authorization }
    const answer = await refusal(dial(t, url, { headers }))
    t.equal(answer.statusCode, 401)
    t.equal(answer.headers['www-authenticate'], 'Basic realm="ttyd"')
  }
})

t.test('only /terminal/ws with the subprotocol tty is a terminal', async (t) => {
  const { url } = await startTerminal(t)
  t.equal((await refusal(dial(t, url, { path: '/terminal/ws/extra' }))).statusCode, 404)
  t.equal((await refusal(dial(t, url, { path: '/ws' }))).statusCode, 404)
  t.equal((await refusal(dial(t, url, { protocols: [] }))).statusCode, 400)
  t.equal((await refusal(dial(t, url, { protocols: ['foo'] }))).statusCode, 400)
  const socket = dial(t, url, { path: '/terminal/ws?x=1', protocols: ['foo', 'tty'] })
  await once(socket, 'open')
  t.equal(socket.protocol, 'tty')
})

t.test(
  'a first message without the right token closes with 1008 and starts no shell',
  async (t) => {
    const { url } = await startTerminal(t)
    const messages = [
      JSON.stringify({ AuthToken: 'wrong', columns: 80, rows: 24 }),
      JSON.stringify({ columns: 80, rows: 24 }),
      JSON.stringify({ AuthToken: TOKEN, columns: -1, rows: 'many' }),
      'not json',
      '0echo hello\r',
      'null',
      '',
    ]
    for (const message of messages) {
      const socket = dial(t, url)
      let answers = 0
      socket.on('message', () => (answers += 1))
      await once(socket, 'open')
      socket.send(message)
      const [code] = await once(socket, 'close')
      t.equal(code, 1008, message)
      t.equal(answers, 0)
    }
  },
)

t.test('typed input reaches a real shell, and its output returns', async (t) => {
  const { url } = await startTerminal(t)
  const shell = await openShell(t, url)
  shell.type('echo works-$((6*7)); echo TERM=$TERM; tty\r')
  const output = await shell.outputMatching(/works-42[^]*TERM=xterm-256color[^]*\/dev\/\S+/)
  t.match(output, '/dev/pts/')
  t.match(shell.titles, [/^sh \(.+\)$/])
})

t.test('input right after the first message is not lost', async (t) => {
  const { url } = await startTerminal(t)
  const socket = dial(t, url)
  await once(socket, 'open')
  socket.send(JSON.stringify({ AuthToken: TOKEN, columns: 80, rows: 24 }))
  socket.send('0exit\r')
  t.equal((await once(socket, 'close'))[0], 1000)
})

t.test('the shell knows the window size, at the start and after a change', async (t) => {
  const { url } = await startTerminal(t)
  const shell = await openShell(t, url)
  shell.type('stty size\r')
  await shell.outputMatching(/\b24 80\b/)
  shell.resize(132, 43)
  shell.type('stty size\r')
  t.match(await shell.outputMatching(/\b43 132\b/), /43 132/)
})

t.test('invalid messages are ignored', async (t) => {
  const { url } = await startTerminal(t)
  const shell = await openShell(t, url)
  for (const message of ['', '9', '1', '1null', '1{"columns":0,"rows":1e9}', 'x'.repeat(100)]) {
    shell.socket.send(message)
  }
  shell.type('stty size\r')
  await shell.outputMatching(/\b24 80\b/)
})

t.test('bytes of any value pass in both directions', async (t) => {
  const { url } = await startTerminal(t)
  const shell = await openShell(t, url)
  shell.type('stty -echo; printf "\\303\\274\\377\\n"; read x; printf "<%s>\\n" "$x"\r')
  await shell.outputMatching(/\u00c3\u00bc\u00ff/)
  shell.socket.send(Buffer.from([0x30, 0xc3, 0xa9, 0xfe, 0x0d]))
  t.match(await shell.outputMatching(/<\u00c3\u00a9\u00fe>/), '<')
})

t.test('a shell that exits closes the socket after its last output', async (t) => {
  const { url } = await startTerminal(t)
  const shell = await openShell(t, url)
  shell.type('echo good""bye; exit 3\r')
  const [code] = await once(shell.socket, 'close')
  t.equal(code, 1000)
  t.match(shell.output(), 'goodbye')
})

t.test('when the browser disconnects, the shell and its job end', async (t) => {
  const { url } = await startTerminal(t)
  const shell = await openShell(t, url)
  shell.type("echo shell=$$.; sh -c 'echo job=$$.; exec sleep 1000'\r")
  const output = await shell.outputMatching(/shell=\d+\.[^]*job=\d+\./)
  const pids = ['shell', 'job'].map((name) => Number(RegExp(`${name}=(\\d+)`).exec(output)?.[1]))
  t.ok(pids.every(isAlive))
  shell.socket.terminate()
  await t.resolves(untilGone(pids))
})

t.test('closing the terminal ends every shell, even one that ignores SIGHUP', async (t) => {
  const terminal = await startTerminal(t)
  const shell = await openShell(t, terminal.url)
  shell.type("trap '' HUP TERM INT; echo shell=$$.\r")
  const output = await shell.outputMatching(/shell=\d+\./)
  const pid = Number(/shell=(\d+)\./.exec(output)?.[1])
  t.ok(isAlive(pid))
  await terminal.close()
  t.notOk(isAlive(pid))
  await t.rejects(fetch(terminal.url))
})

t.test('a shell is paused and resumed by the browser', async (t) => {
  const { url } = await startTerminal(t)
  const shell = await openShell(t, url)
  shell.type('stty -echo; echo ready\r')
  await shell.outputMatching(/ready\r\n[^]*\$ $/)
  shell.socket.send('2')
  shell.type('echo behind-the-pause\r')
  // The pong arrives after both messages were read, so output of the shell until then would have arrived too.
  shell.socket.ping()
  await once(shell.socket, 'pong')
  t.notMatch(shell.output(), 'behind-the-pause')
  shell.socket.send('3')
  t.match(await shell.outputMatching(/behind-the-pause/), 'behind-the-pause')
})

t.test('a flood of output arrives completely', async (t) => {
  const { url } = await startTerminal(t)
  const { socket, type } = await openShell(t, url)
  let bytes = 0
  socket.on('message', (data: Buffer) => (bytes += data.length - 1))
  type('yes 0123456789 | head -c 11000000; exit\r')
  await once(socket, 'close')
  // The terminal adds a carriage return to each of the million lines.
  t.ok(bytes > 12_000_000, `${bytes} bytes`)
})

t.test('a quiet browser is pinged, and disconnected if it does not respond', async (t) => {
  const { url } = await startTerminal(t, { pingMs: 20, cutMs: 100 })
  const present = await openShell(t, url)
  const absent = await openShell(t, url, { autoPong: false })
  const pings = once(present.socket, 'ping')
  const [code] = await once(absent.socket, 'close')
  t.equal(code, 1006)
  await pings
  t.equal(present.socket.readyState, present.socket.OPEN)
})

t.test('a shell that does not exist is reported with a close code', async (t) => {
  const terminal = await startBuiltInTerminal({
    credential: CREDENTIAL,
    shell: '/nowhere/sh',
    env: { PATH: process.env['PATH'] },
    onUnexpectedExit: () => {},
  })
  t.teardown(terminal.close)
  const { socket } = await openShell(t, terminal.url)
  await once(socket, 'close')
})

/** Resolves when all the processes have ended. */
async function untilGone(pids: number[]): Promise<void> {
  while (pids.some(isAlive)) await new Promise((resolve) => setImmediate(resolve))
}
