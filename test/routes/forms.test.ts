/** Are the fields of a form judged in linear time, whoever sends it? */
import t from 'tap'
import { hasEachOnce } from '../../routes/forms.ts'
import { cpuMs, LINEAR_MS } from '../helpers/cpu-time.ts'

t.test('each field stands once, and a list with other values', async (t) => {
  const judged = (text: string) => hasEachOnce(new URLSearchParams(text), 'scope')
  t.ok(judged(''))
  t.ok(judged('act=a&id=1&scope=api&scope=chat'))
  t.notOk(judged('act=a&id=1&act=a'))
  t.notOk(judged('act=a&id=1&act=b'))
  t.notOk(judged('scope=api&scope=api'), 'so that no page has a thousand of them')
})

t.test('the largest form costs little', async (t) => {
  const names = Array.from({ length: 4000 }, (_, i) => i.toString(36))
  const form = new URLSearchParams(names.join('&'))
  t.ok(cpuMs(() => t.ok(hasEachOnce(form, 'scope'))) < LINEAR_MS)
})
