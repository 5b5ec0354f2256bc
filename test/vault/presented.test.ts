/** Is a lease taken where tools put a key, and from nowhere else? */
import t from 'tap'
import { COMMON_PLACES, hasLease, presentedLeases } from '../../src/vault/presented.ts'

const LEASE = `hvl_${'a1B2'.repeat(8)}`
const OTHER = `sk-ant-hvl_${'c3D4'.repeat(8)}`
const base64 = (text: string) => Buffer.from(text).toString('base64')

t.test('the places of a lease', async (t) => {
  for (const [headers, found] of [
    [['Authorization', `Bearer ${LEASE}`], [LEASE]],
    [['authorization', `bearer  ${LEASE} `], [LEASE]],
    [['AUTHORIZATION', `token ${LEASE}`], [LEASE]],
    [['Authorization', LEASE], [LEASE]],
    [['Authorization', `Basic ${base64(`x-access-token:${LEASE}`)}`], [LEASE]],
    [['Authorization', `Basic ${base64(`${LEASE}:x-oauth-basic`)}`], [LEASE]],
    [['Authorization', `Basic ${base64(`${LEASE}:`)}`], [LEASE]],
    [['Authorization', `basic ${base64(LEASE)}`], [LEASE]],
    [['X-Api-Key', OTHER], [OTHER]],
    [['x-goog-api-key', LEASE], [LEASE]],
    [['X-Own', LEASE], []],
    [['Cookie', `a=${LEASE}`], []],
    [['Authorization', `Bearer ${LEASE} x`], []],
    [['Authorization', `Bearer ${LEASE}!`], []],
    [['Authorization', 'Bearer ghp_something-else'], []],
    [['Authorization', `Bearer hvl_${'a'.repeat(31)}`], []],
    [['Authorization', 'Basic %%%'], []],
    [['Authorization', `Bearer ${LEASE}`, 'X-Api-Key', LEASE], [LEASE]],
    [
      ['Authorization', `Bearer ${LEASE}`, 'X-Api-Key', OTHER],
      [LEASE, OTHER],
    ],
    [
      ['Authorization', `Bearer ${LEASE}`, 'Authorization', `Bearer ${OTHER}`],
      [LEASE, OTHER],
    ],
    [
      ['Authorization', `Basic ${base64(`${LEASE}:${OTHER}`)}`],
      [LEASE, OTHER],
    ],
    [[], []],
  ] as const)
    t.same(presentedLeases(headers, COMMON_PLACES), found, headers.join(': '))
  t.same(presentedLeases(['X-Own', `Key ${LEASE}`], ['x-own']), [LEASE], 'the entry’s own header')
})

t.test('a lease within a text is seen', async (t) => {
  t.ok(hasLease(`/s/x?key=${LEASE}&a`))
  t.notOk(hasLease('/s/hvl_short'))
})
