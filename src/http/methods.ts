/** Which methods are there? */

/** Methods that are forwarded. TRACE and CONNECT never are; others have no meaning to the services. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
