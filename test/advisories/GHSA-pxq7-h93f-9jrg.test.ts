/** GHSA-pxq7-h93f-9jrg, oauth2-proxy: `#` and `%23` made a protected address match the rule of a public one. */
import t from 'tap'
import { assertRefused, DOORS, knock } from '../helpers/door.ts'
import { startWorkspace } from '../helpers/gateway.ts'

t.test('no fragment, raw or encoded, makes an address public', async (t) => {
  const workspace = await startWorkspace(t)
  for (const door of DOORS) {
    for (const target of ['/terminal#/health', '/#/_gateway/sign-in', '/health#']) {
      const answer = await knock(workspace.port, door, target)
      await assertRefused(t, workspace, answer, { code: 'bad-target', stage: 'target' })
    }
    for (const target of [
      '/terminal/%23/health',
      '/terminal%23/health',
      '/health%23',
      '/health%23/x',
      '/x%23/_gateway/sign-in',
    ]) {
      const answer = await knock(workspace.port, door, target)
      await assertRefused(t, workspace, answer, {
        code: 'sign-in-required',
        stage: 'authentication',
      })
    }
  }
})
