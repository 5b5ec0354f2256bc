/** A request as it stands when its headers are built for a service. */
import type { ForwardedRequest } from '../../src/http/to-service.ts'

/** Alice’s, in the mode that tells a service everything. */
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
