/** Which size does the shell get? That of its client's window, within bounds, and not with every frame of a dragged window. */
import t from 'tap'
import { boundedSize } from '../../../src/terminals/keeper/screen.ts'
import { firstMessageIn, sizeIn, withSize } from '../../../src/terminals/keeper/ttyd-messages.ts'
import {
  cutOff,
  openShell,
  openTerminal,
  startScriptedTtyd,
  startTestKeeper,
} from '../../helpers/kept-terminals.ts'
import { elapse, eventually } from '../../helpers/waiting.ts'

const json = (value: unknown) => Buffer.from(JSON.stringify(value))

t.test('a size is whole, positive and bounded', async (t) => {
  for (const [columns, rows, expected] of [
    [80, 24, { columns: 80, rows: 24 }],
    [1, 1, { columns: 2, rows: 1 }],
    [0, 24, undefined],
    [-80, 24, undefined],
    [80.5, 24, undefined],
    [Infinity, 24, undefined],
    ['80', '24', undefined],
    [null, 24, undefined],
    [[80], [24], undefined],
  ] as const)
    t.same(sizeIn(json({ columns, rows })), expected, JSON.stringify({ columns, rows }))
  for (const text of [
    '',
    '{',
    'null',
    '[]',
    '80',
    '"x"',
    '{"columns":80}',
    `{"a":${'['.repeat(40_000)}`,
  ])
    t.equal(sizeIn(Buffer.from(text)), undefined, text.slice(0, 20))
  t.equal(
    sizeIn(json({ columns: 80, rows: 24, x: 'x'.repeat(65_536) })),
    undefined,
    'too long to read',
  )
  for (const [columns, rows] of [
    [65_535, 65_535],
    [1e15, 1e15],
    [1, 1e9],
    [1e9, 1],
  ] as const) {
    const size = sizeIn(json({ columns, rows })) ?? { columns: Infinity, rows: Infinity }
    t.same(size, boundedSize({ columns, rows }))
    t.ok(size.columns <= 1024 && size.rows <= 512 && size.columns * size.rows <= 100_000)
  }
})

t.test('a first message is an object, and goes on with its other fields', async (t) => {
  t.same(firstMessageIn(json({ AuthToken: 'a', columns: 9, rows: 8 })), {
    authToken: 'a',
    size: { columns: 9, rows: 8 },
  })
  t.same(firstMessageIn(json({})), { authToken: '', size: { columns: 80, rows: 24 } })
  for (const text of [
    '',
    '[]',
    'null',
    ' {}',
    '1{"columns":80,"rows":24}',
    '{"AuthToken":"a"',
    '{}{}',
  ])
    t.equal(firstMessageIn(Buffer.from(text)), undefined, text)
  const first = '{"AuthToken":"a","__proto__":{"rows":1},"columns":99999,"rows":1,"new":[1]}'
  t.same(
    withSize(Buffer.from(first), { columns: 5, rows: 6 }).toString(),
    '{"AuthToken":"a","__proto__":{"rows":1},"columns":5,"rows":6,"new":[1]}',
  )
})

t.test('a shell gets no larger window than its screen has here', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd, { columns: 65_535, rows: 65_535 })
  t.match(shell.first, boundedSize({ columns: 65_535, rows: 65_535 }))
  client.socket.send('1{"columns":100000,"rows":2}')
  await eventually(() => shell.received.length > 0, 'the size')
  t.same(shell.received, ['1{"columns":1024,"rows":2}'])
  t.ok(keeper.terminals.list().every(({ columns }) => columns <= 1024))
})

t.test('a window that is dragged does not reach the shell with each frame', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  const frames = 30
  for (let frame = 1; frame <= frames; frame++) {
    client.socket.send(`1{"columns":${80 + frame},"rows":40}`)
    await elapse(8, 'frames follow each other')
  }
  client.type('x')
  await eventually(() => shell.received.includes('0x'), 'input does not wait')
  const last = `1{"columns":${80 + frames},"rows":40}`
  await eventually(() => shell.received.includes(last), 'the last size')
  // A busy machine may pause between two frames, and then the shell gets the first of them.
  t.ok(shell.received.length < frames / 2, `${shell.received.length} messages`)
})

t.test('a size that makes no sense is for ttyd to judge', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  const odd = ['1', '1{}', '1{"columns":0,"rows":0}', '1{"columns":-1,"rows":1e9}', '1garbage']
  for (const message of odd) client.socket.send(message)
  client.type('x')
  await eventually(() => shell.received.includes('0x'), 'they have passed')
  t.same(shell.received, [...odd, '0x'])
  t.match(await keeper.list(), [{ columns: 80, rows: 24 }])
})

t.test(
  'who comes back with another window gets the screen for it, and the shell is told',
  async (t) => {
    const ttyd = await startScriptedTtyd(t)
    const keeper = await startTestKeeper(t, ttyd)
    const { client, shell } = await openShell(t, keeper, ttyd)
    shell.print(`${'a'.repeat(100)}\r\n`)
    await eventually(() => client.output().length === 102, 'a line that is wrapped')
    await cutOff(keeper, client)
    const back = await openTerminal(t, keeper.path, { columns: 50, rows: 20 })
    await eventually(() => shell.received.length > 0, 'the size')
    t.same(shell.received, ['1{"columns":50,"rows":20}'])
    await eventually(() => back.output() !== '', 'the screen')
    t.match(back.output(), /a{100}/)
    await cutOff(keeper, back)
    const same = await openTerminal(t, keeper.path, { columns: 50, rows: 20 })
    same.type('x')
    await eventually(() => shell.received.includes('0x'), 'it is back')
    t.equal(shell.received.length, 2, 'a size that has not changed is not told')
  },
)

t.test('a size that comes while the screen is drawn is the one that stays', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  const back = await openTerminal(t, keeper.path, { columns: 50, rows: 20 })
  back.socket.send('1{"columns":60,"rows":30}')
  await eventually(() => shell.received.at(-1) === '1{"columns":60,"rows":30}', 'the size')
  t.match(await keeper.list(), [{ columns: 60, rows: 30 }])
})
