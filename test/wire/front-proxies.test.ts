/** Behind the platform's edge proxy and Caddy, does every client have exactly one rate limit of its own? */
import t from 'tap'
import { client } from '../helpers/door.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

/** The `X-Forwarded-For` that arrives: each proxy of the chain has added the address of the one before it. */
const CHAINS: ReadonlyArray<
  readonly [name: string, trusted: string, behind: (address: string) => string]
> = [
  ['Caddy on the private network', 'loopback,fdaa::/16', (address) => `${address}, fdaa:0:33::3`],
  ['Caddy that is the peer itself', 'loopback,fdaa::/16', (address) => address],
  [
    'the edge, then Caddy',
    'loopback,fdaa::/16,66.241.124.0/23',
    (address) => `${address}, 66.241.125.9, fdaa:0:33::3`,
  ],
]

for (const [name, trusted, behind] of CHAINS)
  t.test(`two clients behind ${name} have separate rate limits`, async (t) => {
    const { port, dials } = await startWorkspace(t, {
      GATEWAY_TRUSTED_PROXIES: trusted,
      GATEWAY_RATE_LIMIT: '3',
    })
    const ask = async (address: string, forged = '') =>
      (await send(port, 'GET /', [client(forged + behind(address))])).status
    for (let i = 0; i < 3; i++) t.equal(await ask('203.0.113.1', `198.51.100.${i}, `), 401)
    t.equal(await ask('203.0.113.1'), 429)
    t.equal(
      await ask('203.0.113.1', '198.51.100.9, fdaa::1, 66.241.125.9, '),
      429,
      'whatever it writes in front',
    )
    t.equal(await ask('203.0.113.2'), 401)
    t.equal(dials(), 0)
  })
