/**
 * What does the gateway tell the vault about a request of another workspace? Whose token it came with: one field, which takes the place of
 * a lease. No client can send it, because the gateway removes every `X-Workspace-…` field of a client (src/http/to-service.ts).
 */

/** The field with the name of the API token, which is the name of the other workspace. */
export const TOKEN_NAME_FIELD = 'X-Workspace-Token-Name'
