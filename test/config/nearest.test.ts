/** Which name was probably meant? */
import t from 'tap'
import { nearestName } from '../../src/config/nearest.ts'

t.test('the nearest name is suggested, unless it is too different', async (t) => {
  const names = ['serve', 'token', 'check', 'doctor']
  const table: ReadonlyArray<readonly [asked: string, found: string | undefined]> = [
    ['serve', 'serve'],
    ['sevre', 'serve'],
    ['serv', 'serve'],
    ['chekc', 'check'],
    ['doktor', 'doctor'],
    ['dance', undefined],
    ['', undefined],
    ['x'.repeat(100_000), undefined],
  ]
  for (const [asked, found] of table)
    t.equal(nearestName(asked, names, 2), found, asked.slice(0, 20))
})
