// The authorization server of the tests: npm's oidc-provider, with one client for each client authentication method.
//
// node server.mjs FOLDER PORT: FOLDER holds the test's PKI (server, ca, the clients' certificates and keys). Access tokens
// are JWTs for the audience `uplink-gateway`, signed with ES256; `sub` is the client. TTL gives their life in seconds.

import { X509Certificate, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:https';
import { join } from 'node:path';

const [folder, port] = process.argv.slice(2);
// The package lies where it was installed, not beside this file.
const { Provider } = await import(createRequire(join(process.env.OIDC_HOME, 'package.json')).resolve('oidc-provider'));
const file = (name) => readFileSync(join(folder, name));
const issuer = `https://localhost:${port}`;
const SECRET = 'a secret of more than thirty-two characters';

const publicKey = (name, more) => ({ ...createPublicKey(file(name)).export({ format: 'jwk' }), use: 'sig', ...more });
const selfSigned = new X509Certificate(file('camera-self.crt'));
const client = (method, more) => ({
  client_id: `camera-${method.replaceAll('_', '-')}`,
  token_endpoint_auth_method: method,
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
  scope: 'uplink',
  id_token_signed_response_alg: 'ES256',
  ...more,
});
// Kept beside the PKI: a server that is started again has the same key.
const kept = join(folder, 'signing.jwk');
if (!existsSync(kept)) {
  writeFileSync(kept, JSON.stringify(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })));
}
const signing = JSON.parse(readFileSync(kept));

const provider = new Provider(issuer, {
  clients: [
    client('client_secret_basic', { client_secret: SECRET }),
    client('client_secret_post', { client_secret: SECRET }),
    client('client_secret_jwt', { client_secret: SECRET, token_endpoint_auth_signing_alg: 'HS256' }),
    client('private_key_jwt', {
      token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [publicKey('assertion-es.key', { kid: 'es-1', alg: 'ES256' })] },
    }),
    client('private_key_jwt', {
      client_id: 'camera-private-key-jwt-rs',
      token_endpoint_auth_signing_alg: 'RS256',
      jwks: { keys: [publicKey('assertion-rs.key', { alg: 'RS256' })] },
    }),
    client('tls_client_auth', { tls_client_auth_subject_dn: 'CN=camera-tls' }),
    client('self_signed_tls_client_auth', {
      jwks: { keys: [{ ...selfSigned.publicKey.export({ format: 'jwk' }), x5c: [selfSigned.raw.toString('base64')] }] },
    }),
  ],
  clientAuthMethods: [
    'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt',
    'tls_client_auth', 'self_signed_tls_client_auth',
  ],
  enabledJWA: { clientAuthSigningAlgValues: ['HS256', 'RS256', 'ES256'] },
  jwks: { keys: [{ ...signing, use: 'sig', alg: 'ES256', kid: 'signing-1' }] },
  scopes: ['uplink'],
  ttl: { ClientCredentials: () => Number(process.env.TTL ?? 600) },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      selfSignedTlsClientAuth: true,
      getCertificate: (ctx) => {
        const { raw } = ctx.socket.getPeerCertificate();
        return raw && new X509Certificate(raw);
      },
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_subject_dn' && new X509Certificate(ctx.socket.getPeerCertificate().raw).subject === expected,
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://uplink-gateway.example',
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'uplink',
  id_token_signed_response_alg: 'ES256',
        audience: 'uplink-gateway',
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});
for (const event of ['grant.error', 'grant.success', 'server_error']) {
  provider.on(event, (ctx, error) => console.log(event, ctx.oidc?.client?.clientId, error?.message ?? '', error?.error_description ?? ''));
}

createServer(
  { key: file('server.key'), cert: file('server.crt'), ca: file('ca.crt'), requestCert: true, rejectUnauthorized: false },
  provider.callback(),
).listen(Number(port), '127.0.0.1', () => console.log('listening', port));
