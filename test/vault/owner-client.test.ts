/** Does the gateway stay well whatever listens where the vault should, and believe only what a vault says? */
import { mkdirSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { dirname } from 'node:path'
import t, { type Test } from 'tap'
import { VAULT_AWAY_DETAIL } from '../../src/answers/details.ts'
import { VaultOwner } from '../../src/vault/owner-client.ts'
import { ownerSocket } from '../../src/vault/protocol.ts'
import { answerOf, startOwnerDoor, startScriptedDoor } from '../helpers/owner-door.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { startTestVault } from '../helpers/vault-doors.ts'
import { eventually } from '../helpers/waiting.ts'

const CHANGE = { service: 'github', agent: 'ops', by: 'alice' }
const AWAY = { code: 'vault-unavailable', detail: VAULT_AWAY_DETAIL }

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n'

/** Sends these bytes again and again, as fast as they are read. */
function sendForEver(socket: Socket, bytes: string | Buffer): void {
  const more = (): void => {
    while (!socket.destroyed && socket.write(bytes));
    if (!socket.destroyed) socket.once('drain', more)
  }
  more()
}

/** Asserts that every question to a vault fails as if nobody were there. */
async function assertAway(t: Test, vault: VaultOwner, reason: RegExp): Promise<void> {
  await t.rejects(vault.look(), { ...AWAY, reason })
  await t.rejects(vault.tryGrant(CHANGE), { ...AWAY, reason })
  await t.rejects(vault.revoke(CHANGE), { ...AWAY, reason })
}

t.test('a vault that is not there is said to be away', async (t) => {
  const sockets = temporaryFolder(t)
  await assertAway(t, new VaultOwner(sockets), /ENOENT/)
  mkdirSync(dirname(ownerSocket(sockets)))
  writeFileSync(ownerSocket(sockets), '')
  await assertAway(t, new VaultOwner(sockets), /ECONNREFUSED|ENOTSOCK/)
})

t.test(
  'one that hangs, drips or sends without end is given up, and its connections close',
  async (t) => {
    const ways: Array<[how: string, send: (socket: Socket) => void, reason: RegExp]> = [
      ['says nothing', () => {}, /ETIMEDOUT/],
      ['begins and stops', (socket) => socket.write(HEAD), /./],
      [
        'sends a body without end',
        (socket) => {
          socket.write(HEAD)
          sendForEver(socket, Buffer.alloc(65_536, 0x20))
        },
        /./,
      ],
      [
        'sends a head without end',
        (socket) => {
          socket.write('HTTP/1.1 200 OK\r\n')
          sendForEver(socket, `x: ${'y'.repeat(1000)}\r\n`)
        },
        /HPE/,
      ],
      [
        'sends early hints without end',
        (socket) => sendForEver(socket, 'HTTP/1.1 103 Early Hints\r\n\r\n'),
        /./,
      ],
      [
        'switches protocols',
        (socket) =>
          socket.write(
            'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n',
          ),
        /./,
      ],
      ['hangs up', (socket) => socket.destroy(), /ECONNRESET/],
      ['hangs up in its answer', (socket) => socket.end(HEAD), /./],
    ]
    for (const [how, send, reason] of ways) {
      let open = 0
      const door = await startOwnerDoor(t, (socket) => {
        open += 1
        socket.on('close', () => (open -= 1))
        socket.once('data', () => send(socket))
      })
      await t.test(how, async (t) => {
        await assertAway(t, new VaultOwner(door.sockets, 200), reason)
        t.equal(door.dials(), 5)
        await eventually(() => open === 0, 'nothing is left open')
      })
    }
  },
)

const ENTRY = {
  ...{ service: 'github', origin: 'https://api.github.com', suspended: false, note: '' },
  ...{ methods: ['GET'], paths: ['/'], grants: ['coder'], more: 'of a newer vault' },
}

const WHOLE: Readonly<Record<string, object>> = {
  '/v1/entries': { entries: [ENTRY] },
  '/v1/status': { agents: ['coder'] },
  '/v1/accesses': {
    since: '2026-01-01T00:00:00.000Z',
    accesses: [
      {
        ...{ agent: 'coder', service: 'github', uses: 1, refusals: 1 },
        last_use: {
          ...{ time: '2026-01-01T00:00:00.000Z', method: 'GET', path: '/', status: 200 },
          reason: 'done',
        },
        last_refusal: { time: '2026-01-01T00:00:00.000Z', reason: 'path-not-allowed' },
      },
    ],
  },
}

/** Everything that differs from a value in one place, which has another type there. */
function* spoiled(value: unknown): Generator {
  if (typeof value !== 'object' || value === null) {
    yield typeof value === 'number' ? -1 : 7
    return
  }
  yield 'a text'
  if (Array.isArray(value)) {
    for (const one of spoiled(value[0])) yield [one]
    yield Array.from({ length: 1001 }, () => value[0] as unknown)
    return
  }
  for (const [name, one] of Object.entries(value))
    if (name !== 'more') for (const other of spoiled(one)) yield { ...value, [name]: other }
}

t.test('what a vault says is believed only as a whole, field by field', async (t) => {
  const answers = { ...WHOLE }
  const door = await startScriptedDoor(t, (path) => answerOf(answers[path]))
  const vault = new VaultOwner(door.sockets)
  t.match(await vault.look(), {
    entries: [{ service: 'github', grants: ['coder'] }],
    agents: ['coder'],
    accesses: [{ uses: 1 }],
  })
  let tried = 0
  for (const [path, whole] of Object.entries(WHOLE)) {
    for (const other of spoiled(whole)) {
      answers[path] = other as object
      await t.rejects(vault.look(), AWAY, JSON.stringify(other).slice(0, 200))
      tried += 1
    }
    answers[path] = whole
  }
  t.ok(tried > 30, `${tried} wrong answers`)
  answers['/v1/status'] = { agents: ['x'.repeat(5000)] }
  await t.rejects(vault.look(), AWAY)
})

t.test('a change counts as made only when the answer has it', async (t) => {
  const granted = { ...ENTRY, grants: ['coder', 'ops'] }
  for (const [answer, whenGranted, whenRevoked] of [
    [granted, true, false],
    [ENTRY, false, true],
    [{}, false, false],
    [{ ...granted, suspended: 'no' }, false, false],
  ] as const) {
    const door = await startScriptedDoor(t, () => answerOf(answer))
    const vault = new VaultOwner(door.sockets)
    for (const [work, isMade] of [
      [() => vault.tryGrant(CHANGE), whenGranted],
      [() => vault.grant(CHANGE), whenGranted],
      [() => vault.revoke(CHANGE), whenRevoked],
    ] as const)
      if (isMade) await t.resolves(work())
      else await t.rejects(work(), AWAY)
  }
})

t.test('what is no answer of a vault is none, whatever its status', async (t) => {
  for (const bytes of [
    'garbage\r\n\r\n',
    'SSH-2.0-OpenSSH_9.6\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi',
    'HTTP/1.1 204 No Content\r\n\r\n',
    'HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n',
    answerOf([]),
    answerOf(null),
    answerOf({}, '404 Not Found'),
    answerOf({ code: 'made-up', detail: 'x' }, '400 Bad Request'),
    answerOf({ code: 'constructor', detail: 'x' }, '400 Bad Request'),
    answerOf({ code: 'conflict' }, '409 Conflict'),
    answerOf({ code: 'conflict', detail: { a: 1 } }, '409 Conflict'),
  ]) {
    const door = await startScriptedDoor(t, () => bytes)
    await t.rejects(new VaultOwner(door.sockets, 1000).look(), AWAY, bytes.slice(0, 60))
  }
})

t.test(
  'a sentence of the vault is shown without what controls a terminal, and not endlessly',
  async (t) => {
    const detail = `a\u001b[31m\u202e\n${'x'.repeat(4000)}`
    const door = await startScriptedDoor(t, () =>
      answerOf({ code: 'conflict', detail }, '409 Conflict'),
    )
    const error: unknown = await new VaultOwner(door.sockets)
      .revoke(CHANGE)
      .catch((one: unknown) => one)
    t.match(error, {
      code: 'bad-request',
      detail: /^The vault refuses this: a\\u\{1b\}\[31m\\u\{202e\}\\u\{a\}x+\.$/,
    })
    t.ok((error as { detail: string }).detail.length < 600)
  },
)

t.test(
  'who looks while another waits asks nothing, and after a change everybody asks anew',
  async (t) => {
    const waiting: Array<() => void> = []
    const door = await startOwnerDoor(t, (socket) => {
      socket.once('data', (bytes: Buffer) => {
        const path = bytes.toString().split(' ')[1] ?? ''
        const isChange = path.endsWith('/revoke')
        const answer = (): void => void socket.end(answerOf(isChange ? ENTRY : WHOLE[path]))
        if (isChange) answer()
        else waiting.push(answer)
      })
    })
    const vault = new VaultOwner(door.sockets, 60_000)
    const looks = [vault.look(), vault.look(), vault.look()]
    await eventually(() => waiting.length === 3, 'one look')
    await vault.revoke(CHANGE)
    const after = vault.look()
    await eventually(() => waiting.length === 6, 'another look')
    t.equal(door.dials(), 7)
    for (const answer of waiting) answer()
    await Promise.all([...looks, after])
    t.equal(door.dials(), 7)
  },
)

t.test('the real door is understood', async (t) => {
  const { sockets, entries } = await startTestVault(t)
  const vault = new VaultOwner(sockets)
  t.match(await vault.look(), { entries: [{ service: 'github' }], agents: ['coder', 'ops'] })
  await vault.tryGrant(CHANGE)
  t.same(entries.changes, [])
  await vault.grant(CHANGE)
  await vault.revoke({ ...CHANGE, by: undefined })
  t.same(entries.changes, [
    { op: 'grant', agent: 'owner', service: 'github', by: 'alice', reason: 'ops' },
    { op: 'revoke', agent: 'owner', service: 'github', by: undefined, reason: 'ops' },
  ])
})
