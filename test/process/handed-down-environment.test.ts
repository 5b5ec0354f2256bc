/** Which inherited socket does the environment name? */
import t from 'tap'
import { handedDownListener } from '../../src/process/handed-down.ts'

t.test('a socket is taken only if it was passed to this process', async (t) => {
  const rows: Array<[count: string | undefined, pid: string | undefined, fd: number | undefined]> =
    [
      ['1', '77', 3],
      ['1', '78', undefined], // inherited from the start of a parent process
      ['1', undefined, undefined],
      [undefined, '77', undefined],
      ['2', '78', undefined],
    ]
  for (const [count, pid, fd] of rows)
    t.equal(handedDownListener({ LISTEN_FDS: count, LISTEN_PID: pid }, 77), fd)
})

t.test('any number of sockets but one is a configuration error', async (t) => {
  for (const count of ['2', '0', 'x', ''])
    t.throws(() => handedDownListener({ LISTEN_FDS: count, LISTEN_PID: '77' }, 77), {
      name: 'ConfigError',
      message: /takes one listening socket/,
    })
})
