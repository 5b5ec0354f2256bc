/** Does the client that docs/limits.md shows do what the page says, against the real service and over a network that fails? */
import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { LimitReached, provisionWithin, type Service } from '../../examples/limits/provision.ts'
import { startCuttable } from '../helpers/cuttable.ts'
import { run, temporaryFolder } from '../helpers/process.ts'

const FILE = 'examples/limits/provision.ts'
const TOKEN = 'token-of-the-control-plane-8d2f61c0a7'

/** Starts the real service on a free port. */
async function startService(t: Test): Promise<Service & { port: number }> {
  const program = run(t, ['limits'], {
    LIMITS_PORT: '0',
    LIMITS_TOKEN: TOKEN,
    LIMITS_STATE_DIR: temporaryFolder(t),
  })
  const port = Number((await program.logged('limiting'))['port'])
  return { url: `http://127.0.0.1:${port}`, token: TOKEN, port }
}

/** The ids of what a user has taken. */
async function grantsOf({ url, token }: Service, user: string): Promise<string[]> {
  const answer = await fetch(`${url}/v1/provision?user=${user}`, {
    headers: { authorization: `Bearer ${token}` },
  })
  const { grants } = (await answer.json()) as { grants: Array<{ grant: string }> }
  return grants.map(({ grant }) => grant)
}

t.test('the page quotes the file as it is', async (t) => {
  const [, quoted = ''] = /^```ts\n([^]*?)^```$/m.exec(readFileSync('docs/limits.md', 'utf8')) ?? []
  t.equal(quoted, readFileSync(FILE, 'utf8'))
})

t.test('it imports nothing', async (t) => {
  t.notMatch(readFileSync(FILE, 'utf8'), /^import|\brequire\(|process\./m)
})

t.test('a user who may gets a workspace, and has to wait for the next one', async (t) => {
  const service = await startService(t)
  const made: string[] = []
  const make = async (id: string) => {
    made.push(id)
    return id
  }
  t.equal(await provisionWithin(service, 'alice', 'job-1', () => make('one')), 'one')
  const refused = provisionWithin(service, 'alice', 'job-2', () => make('two'))
  const error = await refused.catch((reason: unknown) => reason)
  t.ok(error instanceof LimitReached)
  const { retryAfter } = error as LimitReached
  t.ok(retryAfter > 3500 && retryAfter <= 3600, String(retryAfter))
  t.match((error as LimitReached).message, /\w/)
  t.same(made, ['one'], 'nothing is made for who is refused')
  t.same(await grantsOf(service, 'alice'), ['job-1'])
})

t.test('what could not be provisioned is given back, and its cause is told', async (t) => {
  const service = await startService(t)
  const failure = new Error('no machine is free')
  const fails = provisionWithin(service, 'alice', 'job-1', () => Promise.reject(failure))
  t.equal(await fails.catch((reason: unknown) => reason), failure)
  t.same(await grantsOf(service, 'alice'), [])
  t.equal(await provisionWithin(service, 'alice', 'job-2', async () => 'made'), 'made')
})

/** A network that can be down, before the service. */
async function breakable(t: Test, service: Service & { port: number }) {
  const wire = await startCuttable({ port: 0, host: '127.0.0.1' }, () => ({
    port: service.port,
    host: '127.0.0.1',
  }))
  t.teardown(() => wire.stop())
  return { wire, there: { ...service, url: `http://127.0.0.1:${wire.port}` } }
}

/** A network before the service that loses the first answer to a method, which the service has sent. */
async function losing(t: Test, service: Service & { port: number }, method: 'POST' | 'DELETE') {
  let lost = 0
  const network = createServer((near) => {
    const far = connect(service.port, '127.0.0.1')
    let asked = ''
    near.on('data', (bytes: Buffer) => {
      if (/^(?:POST|DELETE) /.test(bytes.toString('latin1'))) asked = bytes.toString('latin1')
      far.write(bytes)
    })
    far.on('data', (bytes: Buffer) => {
      if (lost > 0 || !asked.startsWith(method)) {
        near.write(bytes)
        return
      }
      lost += 1
      near.resetAndDestroy()
    })
    near.on('error', () => near.destroy()).on('close', () => far.destroy())
    far.on('error', () => far.destroy()).on('close', () => near.destroy())
  }).listen(0, '127.0.0.1')
  t.teardown(() => network.close())
  await once(network, 'listening')
  const { port } = network.address() as AddressInfo
  return { service: { ...service, url: `http://127.0.0.1:${port}` }, lost: () => lost }
}

t.test('a lost answer is asked for again, and takes one point', async (t) => {
  const service = await startService(t)
  const network = await losing(t, service, 'POST')
  let made = 0
  await provisionWithin(network.service, 'alice', 'job-1', async () => {
    made += 1
  })
  t.equal(network.lost(), 1)
  t.equal(made, 1)
  t.same(await grantsOf(service, 'alice'), ['job-1'])
})

t.test('a lost answer to giving back is no failure', async (t) => {
  const service = await startService(t)
  const network = await losing(t, service, 'DELETE')
  const failure = new Error('no machine is free')
  const fails = provisionWithin(network.service, 'alice', 'job-1', () => Promise.reject(failure))
  t.equal(await fails.catch((reason: unknown) => reason), failure)
  t.equal(network.lost(), 1)
  t.same(await grantsOf(service, 'alice'), [])
})

t.test('nothing is provisioned while the service is away, or refuses the token', async (t) => {
  const service = await startService(t)
  const never = async () => t.fail('provisioned')
  const { wire, there } = await breakable(t, service)
  wire.down(true)
  await t.rejects(provisionWithin(there, 'alice', 'job-1', never), /does not answer/)
  await t.rejects(provisionWithin({ ...service, token: 'x' }, 'alice', 'job-1', never), /401/)
  t.same(await grantsOf(service, 'alice'), [])
  wire.down(false)
  t.equal(await provisionWithin(there, 'alice', 'job-1', async () => 'made'), 'made')
})

t.test('a service whose store is away is asked again after the time that it says', async (t) => {
  const askedAt: number[] = []
  const service = createHttpServer((request, response) => {
    askedAt.push(performance.now())
    request.resume()
    if (askedAt.length === 1) response.writeHead(503, { 'Retry-After': '1' })
    response.end('{}')
  }).listen(0, '127.0.0.1')
  t.teardown(() => service.close())
  await once(service, 'listening')
  const { port } = service.address() as AddressInfo
  const there = { url: `http://127.0.0.1:${port}`, token: TOKEN }
  t.equal(await provisionWithin(there, 'alice', 'job-1', async () => 'made'), 'made')
  const [first = 0, second = 0] = askedAt
  // A timer of Node may run a millisecond early.
  t.ok(second - first > 990, `after ${second - first} ms`)
})

t.test('both failures are told when nothing could be given back', async (t) => {
  const service = await startService(t)
  const { wire, there } = await breakable(t, service)
  const failure = new Error('no machine is free')
  const fails = provisionWithin(there, 'alice', 'job-1', () => {
    wire.down(true)
    return Promise.reject(failure)
  })
  const error = await fails.catch((reason: unknown) => reason)
  t.match((error as Error).message, /not given back yet: .*does not answer/)
  t.equal((error as Error).cause, failure)
  t.same(await grantsOf(service, 'alice'), ['job-1'], 'to be given back later')
})
