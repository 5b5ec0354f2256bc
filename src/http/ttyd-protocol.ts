/** What is known of ttyd's WebSocket? The names that its page, the keeper of terminals and devices use alike. */

/** The subprotocol of ttyd's WebSocket. */
export const TTYD_PROTOCOL = 'tty'

/** The close code by which ttyd, and the keeper, refuse the token of a first message. */
export const NOT_AUTHENTICATED = 1008

/** The first byte of a client's message to ttyd. The first message of all is a JSON object, which begins with `{`. */
export const FROM_CLIENT = { input: 0x30, resize: 0x31, pause: 0x32, resume: 0x33 } as const

/** The first byte of ttyd's message to the client. */
export const FROM_TTYD = { output: 0x30, title: 0x31, preferences: 0x32 } as const

/** The parameter of the terminal's address by which a page finds its terminal again, where terminals are kept. */
export const TAB_PARAMETER = 'tab'
