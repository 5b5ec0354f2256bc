/** What does the command say about itself? */
import t from 'tap'
import { SETTINGS } from '../../src/config/settings.ts'
import type { Setting } from '../../src/config/setting.ts'
import { helpText } from '../../src/help.ts'

t.test('every setting is told with its name, default, meaning and form', async (t) => {
  const text = helpText()
  for (const setting of Object.values<Setting<unknown>>(SETTINGS)) {
    const at = text.indexOf(`\n  ${setting.env} `)
    t.ok(at > 0, setting.env)
    const [head = '', description = '', accepts = ''] = text.slice(at + 1).split('\n')
    t.equal(head.includes('(or '), setting.secret)
    t.equal(head.includes('[required]'), setting.required)
    if (setting.default !== undefined && setting.default !== '')
      t.ok(head.endsWith(`[default ${setting.default}]`), head)
    t.equal(description.trim(), setting.description)
    t.equal(accepts.trim(), `Takes ${setting.accepts}.`)
  }
})

t.test('the commands and the exit codes are told', async (t) => {
  const text = helpText()
  for (const word of ['serve', 'token', 'help', '64', '69', '78'])
    t.match(text, new RegExp(`\\b${word}\\b`))
  t.ok(text.endsWith('\n'))
})
