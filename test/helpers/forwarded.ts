/** Which request do tests of the header policy forward? */
import type { ForwardedRequest } from '../../src/http/to-service.ts'

/** A request of Alice, in the mode in which a service gets all forwarding headers. */
export const FORWARDED: ForwardedRequest = {
  mode: 'full',
  requestId: 'id-1',
  host: 'houston.hubify.com',
  clientAddress: '203.0.113.9',
  scheme: 'https',
  user: 'alice',
  workspace: 'houston',
  dropAuthorization: false,
  authorization: undefined,
  allowNextData: false,
  upgrade: false,
}
