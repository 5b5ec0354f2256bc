/** What does nginx's auth_request ask? This validator, which verifies each token and responds 204 if it is valid, else 401. */
import { createServer } from 'node:http'
import { jwtVerify } from 'jose'
import { SECRET, WORKSPACE } from '../workspace.ts'

const key = new TextEncoder().encode(SECRET)

createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  const token = (request.headers.authorization ?? '').slice('Bearer '.length)
  jwtVerify(token, key, { algorithms: ['HS256'], audience: WORKSPACE }).then(
    () => response.writeHead(204).end(),
    () => response.writeHead(401).end(),
  )
}).listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 })
