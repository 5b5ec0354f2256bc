/**
 * What does the cheapest refusal cost in Node? This server reads nothing of a request, and says to everybody what the gateway says
 * to a client without a token: the same fields and the same document, made once.
 */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { problemAnswer } from '../../src/answers/problem.ts'

const { status, headers, body } = problemAnswer(
  { code: 'sign-in-required', headers: {} },
  { requestId: randomUUID() },
)
const BUDGET = ['RateLimit', '"address";r=9;t=60', 'RateLimit-Policy', '"address";q=10;w=60']
const FIELDS = [...headers, ...BUDGET]

createServer({ keepAliveTimeout: 600_000 }, (_request, response) => {
  response.writeHead(status, FIELDS)
  response.end(body, 'latin1')
}).listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 })
