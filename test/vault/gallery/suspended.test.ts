/** Attack: an agent lets the service repeat the credential again and again. */
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { leaseAt } from '../../helpers/vault-doors.ts'
import { refusalOf, runAgainstVault } from './attack.ts'
import { answerText, startByteService } from '../../helpers/vault-service.ts'

await runAgainstVault(import.meta.url, {
  'a fourth repetition in ten minutes': async (t, { aim, vault }) => {
    const service = await startByteService(t, () => answerText(CREDENTIAL))
    const { send, sendToBoth, service: name, rows } = await aim(service.origin)
    for (let i = 0; i < 3; i++) t.equal((await send('GET /x')).status, 200)
    for (const answer of await sendToBoth('GET /x')) {
      t.match(refusalOf(answer), /^40[13] /)
      t.match(answer.body, name)
    }
    await t.rejects(leaseAt(vault.coder, { service: name }), /vault resume/)
    t.ok(rows().some(({ op }) => op === 'suspend'))
    await vault.command(`/v1/entries/${name}/resume`, {})
    t.ok(await leaseAt(vault.coder, { service: name }))
    return service.dials() > 3
  },
  'an answer that repeats it often, to suspend the entry at once': async (t, { aim }) => {
    const service = await startByteService(t, () =>
      answerText(`${CREDENTIAL} ${CREDENTIAL}`, [`X-A: ${CREDENTIAL}`, `X-B: ${CREDENTIAL}`]),
    )
    const { send, rows, endings } = await aim(service.origin)
    await send('GET /x')
    await endings()
    t.equal(rows().filter(({ op }) => op === 'reflected').length, 1)
    return (await send('GET /x')).status !== 200
  },
})
