/** Which methods are forwarded? The seven that the services use. */

/** The forwarded methods. TRACE and CONNECT are never forwarded; other methods mean nothing to the services. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
