/** Does `help` describe every command and setting? */
import t from 'tap'
import { SETTINGS } from '../../src/config/settings.ts'
import type { Setting } from '../../src/config/setting.ts'
import {
  commandHelp,
  commandNamed,
  COMMANDS,
  helpText,
  unknownCommand,
  type CommandName,
} from '../../src/commands/help.ts'
import { VERSION } from '../../src/answers/version.ts'

t.test(
  'help lists every setting with its name, default, meaning and accepted values',
  async (t) => {
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
  },
)

t.test('help lists the commands and the exit codes', async (t) => {
  const text = helpText()
  for (const word of ['serve', 'token', 'help', '64', '69', '78'])
    t.match(text, new RegExp(`\\b${word}\\b`))
  t.ok(text.endsWith('\n'))
})

t.test('every command is in the overview, and has a help text of its own', async (t) => {
  for (const [name, { usage, summary }] of Object.entries(COMMANDS)) {
    t.ok(helpText().includes(`  workspace-gateway ${usage}`))
    const text = commandHelp(name as CommandName)
    t.ok(text.startsWith(`workspace-gateway ${usage}\n  ${summary}\n`), text)
    t.equal(commandNamed(name), name)
  }
  t.ok(helpText().startsWith(`workspace-gateway ${VERSION}: `))
  for (const [alias, name] of [
    ['-v', 'version'],
    ['--version', 'version'],
    ['-h', 'help'],
    ['--help', 'help'],
  ] as const)
    t.equal(commandNamed(alias), name)
  for (const name of ['', 'Serve', 'constructor', '__proto__'])
    t.equal(commandNamed(name), undefined)
})

t.test('a misspelt command gets a suggestion', async (t) => {
  t.equal(unknownCommand('chekc'), 'unknown command "chekc"; did you mean check?')
  t.equal(unknownCommand('--verison'), 'unknown command "--verison"; did you mean --version?')
  t.equal(unknownCommand('dance'), 'unknown command "dance"')
  t.equal(unknownCommand('\u001b[2J'), 'unknown command "\\u001b[2J"')
})
