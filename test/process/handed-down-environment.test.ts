/** Which socket has the supervisor handed down? */
import t from 'tap'
import { handedDownListener } from '../../src/process/handed-down.ts'

t.test('one that was meant for this process', async (t) => {
  const rows: Array<[count: string | undefined, pid: string | undefined, fd: number | undefined]> =
    [
      ['1', '77', 3],
      ['1', '78', undefined], // left over from the start of a parent
      ['1', undefined, undefined],
      [undefined, '77', undefined],
      ['2', '78', undefined],
    ]
  for (const [count, pid, fd] of rows)
    t.equal(handedDownListener({ LISTEN_FDS: count, LISTEN_PID: pid }, 77), fd)
})

t.test('two of them are a mistake of the unit', async (t) => {
  for (const count of ['2', '0', 'x', ''])
    t.throws(() => handedDownListener({ LISTEN_FDS: count, LISTEN_PID: '77' }, 77), {
      name: 'ConfigError',
      message: /takes one listening socket/,
    })
})
