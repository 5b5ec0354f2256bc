/** Do the presets grant little, and fit what an entry may say? */
import t from 'tap'
import { METHODS } from '../../src/http/methods.ts'
import { presetOf, PRESETS } from '../../src/vault/presets.ts'

t.test('no preset allows everything', async (t) => {
  t.equal(Object.keys(PRESETS).length, 6)
  for (const [service, { methods, paths }] of Object.entries(PRESETS)) {
    t.ok(methods.length > 0, service)
    t.notOk(methods.includes('DELETE'), service)
    t.ok(methods.length < METHODS.length, service)
    for (const path of paths) t.match(path, /^\/[A-Za-z0-9._/-]*[A-Za-z0-9]$/, service)
  }
})

t.test('a preset for GitHub adds no key to an account and asks GraphQL nothing', async (t) => {
  const paths = PRESETS['github']?.paths ?? []
  for (const path of ['/user', '/graphql', '/orgs'])
    t.notOk(
      paths.some((prefix) => path === prefix || path.startsWith(`${prefix}/`)),
      path,
    )
})

t.test('what a preset says is written as a policy has it', async (t) => {
  for (const [service, preset] of Object.entries(PRESETS)) {
    t.match(service, /^[a-z0-9-]{1,40}$/)
    t.equal(new URL(preset.origin).origin, preset.origin)
    t.equal(new URL(preset.origin).protocol, 'https:')
    t.equal(preset.slot.template.split('{}').length, 2, `${service}: one hole`)
    t.equal(preset.leaseShape.split('{}').length, 2, `${service}: one hole`)
    t.match(preset.leaseShape, /hvl_\{\}$/)
    t.equal(preset.kind === 'basic', preset.slot.template.includes(':'))
    for (const list of [preset.methods, preset.paths, preset.headers, preset.presents])
      t.same(list, [...list].toSorted(), `${service}: sorted`)
    for (const name of [preset.slot.header, ...preset.headers, ...preset.presents])
      t.equal(name, name.toLowerCase())
    t.ok(
      preset.presents.includes(preset.slot.header),
      `${service}: a key where its own tools send it`,
    )
    t.notOk(preset.headers.includes(preset.slot.header), `${service}: the slot is not the agent's`)
  }
})

t.test('an entry has the preset of its name, else that of its origin', async (t) => {
  const { github, openai } = PRESETS
  t.equal(presetOf({ service: 'github-bot', origin: 'https://api.github.com' }), github)
  t.equal(presetOf({ service: 'openai', origin: 'https://localhost:4000' }), openai)
  t.equal(presetOf({ service: 'mine', origin: 'https://example.test' }), undefined)
  t.equal(presetOf({ service: 'gh', origin: 'https://example.test', remote: 'github' }), github)
  t.equal(presetOf({ service: 'openai', origin: 'https://x.test', remote: 'mine' }), undefined)
  t.equal(presetOf({ service: 'constructor', origin: 'https://example.test' }), undefined)
})
