/** Does the page about the vault tell the truth? Its tables are those of the code. */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { clientEnvironment } from '../../src/vault/client-environment.ts'
import { MIN_VALUE_BYTES } from '../../src/vault/policy.ts'
import { PRESETS } from '../../src/vault/presets.ts'
import { LEASE_SECONDS, LEASES_PATH, LONGEST_SECONDS } from '../../src/vault/protocol.ts'
import { VAULT_ERROR_FIELD, VAULT_ERRORS } from '../../src/vault/vault-errors.ts'

const page = readFileSync('docs/vault.md', 'utf8')

/** The rows of the table in a section, without its head: the cells of each. */
function rowsOf(t: Test, heading: string): string[][] {
  const [, rest = ''] = page.split(`\n## ${heading}\n`)
  const [section = ''] = rest.split('\n## ')
  const rows = section
    .split('\n')
    .filter((line) => /^\| `/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    )
  t.ok(rows.length > 0, heading)
  return rows
}

const code = (cell = ''): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, one = '']) => one)

t.test('every refusal is listed with its status, and no other', async (t) => {
  const listed = rowsOf(t, 'Refusals').map(([name = '', status]) => [code(name)[0], Number(status)])
  const real = Object.entries(VAULT_ERRORS).map(([name, { status }]) => [name, status])
  t.same(new Map(listed as Array<[string, number]>), new Map(real as Array<[string, number]>))
  t.match(page, `\`${VAULT_ERROR_FIELD}\``)
})

t.test('every preset is listed with what it allows and which variables it sets', async (t) => {
  const rows = rowsOf(t, 'Entries')
  t.same(
    rows.map(([name]) => code(name)[0]),
    Object.keys(PRESETS),
  )
  for (const [name, origin, methods = '', paths, variables] of rows) {
    const service = code(name)[0] ?? ''
    const preset = PRESETS[service]
    t.same(code(origin), [preset?.origin], service)
    t.same(methods.split(', '), preset?.methods, service)
    if (preset?.paths.length === 0) t.match(paths, 'yours', service)
    else t.same(code(paths), preset?.paths, service)
    t.same(code(variables), Object.keys(preset?.environment('http://a.test', 'hvl_1') ?? {}))
  }
})

t.test('the numbers are those of the code', async (t) => {
  t.match(page, `${LEASE_SECONDS / 60} minutes`)
  t.match(page, `${LONGEST_SECONDS / 3600} hours`)
  t.match(page, `fewer than ${MIN_VALUE_BYTES} bytes`)
  t.match(page, `http://vault${LEASES_PATH}`)
  const my = { service: 'my-api', origin: 'https://a.test', baseUrl: 'http://b', token: 'hvl_1' }
  t.ok('MY_API_BASE_URL' in clientEnvironment([my]))
  t.match(page, '`my-api`: `MY_API_BASE_URL`')
})
