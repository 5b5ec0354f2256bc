/** At which paths are the gateway's own pages, and where are their forms sent? The routes are mounted at the same constants. */

/** The owner's page: of the gateway's own pages the only one to which a browser comes back after it has signed in. */
export const OWNER_PAGE = '/_gateway/'

export const SIGN_IN = '/_gateway/sign-in'
export const RENEW = '/_gateway/renew'
export const SIGN_OUT = '/_gateway/sign-out'

/** The page on which a person shows a second factor, or sets up the first one. */
export const VERIFY = '/_gateway/verify-2fa'

/** That page, with where the browser goes on to. @param next a verified path of ours */
export function verifyAddress(next: string): string {
  return `${VERIFY}?${new URLSearchParams({ next }).toString()}`
}

/** The forms that set up a second factor: one that begins, and one that confirms. */
export const APP_FORM = '/_gateway/second-factor/app'
export const PASSKEY_FORM = '/_gateway/second-factor/passkey'
export const CONFIRM_APP_FORM = `${APP_FORM}/confirm` as const
export const CONFIRM_PASSKEY_FORM = `${PASSKEY_FORM}/confirm` as const

/** The path below which the JSON API of owners is. */
export const OWNERS_API = '/_gateway/v1'

/** The page by which a phone reaches the workspace through a relay. What is below the path are its files. */
export const REMOTE_PAGE = '/_gateway/remote/'
