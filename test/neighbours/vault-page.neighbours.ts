/** Can an owner look after the vault on a phone, without script and with a screen reader, and see who used what? In a real browser, with the real vault. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { mintToken } from '../../src/identity/mint.ts'
import { startRunningVault } from '../helpers/running-vault.ts'
import { ask } from '../helpers/vault-doors.ts'
import { answerText, startByteService } from '../helpers/vault-service.ts'
import { startBuiltIn } from './built-in.ts'
import * as chromium from './chromium.ts'
import { until } from './neighbour.ts'

const AXE = readFileSync(new URL(import.meta.resolve('axe-core/axe.min.js')), 'utf8')
const VIOLATIONS = `axe.run('#vault').then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ': ' + html)))`

/** Where the credential goes, for entries without a preset. */
const SLOT = 'X-Token: {}'

/** The width of the smallest phone, and of a desktop. */
const WIDTHS = [320, 1280]

await chromium.install()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

/** Asserts that the page fits, and that axe finds nothing, light and dark. */
async function inspect(t: Test, page: Page, name: string): Promise<void> {
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 800 })
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), width, `${name} fits`)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      await page.evaluate(AXE)
      t.same(await page.evaluate<string[]>(VIOLATIONS), [], `${name}, ${width}, ${colorScheme}`)
      const folder = process.env['SCREENSHOTS']
      if (folder !== undefined)
        await page
          .locator('#vault')
          .screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`) })
    }
  }
}

t.test('an owner sees, grants and revokes', async (t) => {
  const service = await startByteService(t, () => answerText('{}'))
  const vault = await startRunningVault(t)
  await vault.add(service.origin, { note: 'the bot’s own' })
  await vault.add(service.origin, {
    ...{ service: 'a-service-with-a-name-that-is-very-long', grants: ['coder', 'ops'] },
    ...{ slot: SLOT },
    ...{ paths: ['/one/path/that/is/long', '/another/path', '/third', '/fourth', '/fifth'] },
  })
  await vault.add(service.origin, { service: 'slack', grants: [], slot: SLOT })
  const lease = await vault.lease()
  const headers = { authorization: `Bearer ${lease}` }
  await ask(vault.coder, { path: '/s/github/repos/acme/site/issues', headers })
  await ask(vault.coder, { path: '/s/github/x', method: 'PUT', headers })
  const { link, folder, httpCredentials } = await startBuiltIn(t, {
    GATEWAY_VAULT_SOCKETS: vault.env['VAULT_SOCKETS'] ?? '',
  })
  const { origin } = new URL(link)
  const secret = readFileSync(join(folder, '.workspace', 'jwt-secret'), 'utf8').trim()
  const token = await mintToken({ secret, workspace: 'local', subject: 'alice', ttlSeconds: 600 })
  const page = await browser.open({ httpCredentials, javaScriptEnabled: false })
  t.teardown(() => page.context().close())
  await page.goto(`${origin}/_gateway/sign-in?token=${token}`)
  await until('the end of the use', async () => {
    await page.goto(`${origin}/_gateway/`)
    return (await page.textContent('#vault'))?.includes('GET /repos/acme/site/issues, 200; 1 use')
  })
  t.match(await page.textContent('#vault'), /1 refusal[^]*method-not-allowed/)

  await page.setViewportSize({ width: 320, height: 568 })
  await page.getByRole('button', { name: 'Revoke coder: github' }).click()
  await page.getByText('The grant is revoked.').waitFor()
  t.equal((await ask(vault.coder, { path: '/s/github/x', headers })).code, 'lease-revoked')
  await page.getByText('Grant an agent').click()
  await page.getByLabel('Service', { exact: true }).selectOption('slack')
  await page.getByLabel('Agent that may use it').selectOption('ops')
  await page.getByRole('button', { name: 'Grant', exact: true }).click()
  await page.getByText('The agent may use it now.').waitFor()
  await page.getByRole('button', { name: 'Revoke ops: slack' }).waitFor()

  // Axe is a script, so another profile looks at the same page.
  const seen = await browser.open({ httpCredentials })
  t.teardown(() => seen.context().close())
  await seen.context().addCookies(await page.context().cookies())
  await seen.goto(`${origin}/_gateway/`)
  await inspect(t, seen, 'a vault')
  await seen.getByText('Grant an agent').click()
  await inspect(t, seen, 'a form for a grant')
  process.kill(vault.program.pid)
  await vault.program.exited
  await seen.goto(`${origin}/_gateway/`)
  await seen.getByText('The vault does not answer.').waitFor()
  await inspect(t, seen, 'a vault that is away')
})
