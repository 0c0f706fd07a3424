/**
 * Responses that end their connection.
 *
 * @module
 */

/** Has a response tell its client to send no other request on this connection. */
export function closing(response: Response): Response {
  if (response.status === 101) return response; // no longer a matter of HTTP
  try {
    response.headers.set("connection", "close");
    return response;
  } catch {
    // The headers of what fetch() and Response.redirect() gave cannot be changed.
    const headers = new Headers(response.headers);
    headers.set("connection", "close");
    return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
  }
}
