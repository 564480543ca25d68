// Uses a camera by npm's onvif, a client that reads answers by its own means, and prints what it found as one JSON object.
//
// node camera.cjs HOST PORT PATH [USER PASSWORD]: the device service; ONVIF_HOME is where the package is installed. What was refused
// stands in `refused`, by the name of the step.

const { createRequire } = require('node:module');
const { join } = require('node:path');

const { Cam } = createRequire(join(process.env.ONVIF_HOME, 'package.json'))('onvif');
const [hostname, port, path, username, password] = process.argv.slice(2);

const found = { refused: {} };
const cam = new Cam({ hostname, port: Number(port), path, username, password, timeout: 20000, autoconnect: false });

// A method with a callback as a promise; what it refuses is noted and gives nothing.
const step = (name, method, ...options) => new Promise((resolve) => {
  cam[method](...options, (error, answer) => {
    if (error) found.refused[name] = String(error.message || error);
    resolve(error ? undefined : answer);
  });
});
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// The position as soon as it stands still, or the last one within 10 s.
async function arrived() {
  let status;
  for (let tries = 0; tries < 50; tries += 1) {
    status = await step('status', 'getStatus', {});
    if (!status || (status.moveStatus.panTilt === 'IDLE' && status.moveStatus.zoom === 'IDLE')) break;
    await pause(200);
  }
  return status && status.position;
}

async function main() {
  await step('connect', 'connect');
  // The addresses as the device gave them; this client only keeps the path of those of services.
  found.services = (cam.services || []).map((service) => service.XAddr);
  found.information = await step('information', 'getDeviceInformation');
  found.profiles = (cam.profiles || []).map((profile) => profile.$.token);
  found.stream = await step('stream', 'getStreamUri', { protocol: 'RTSP' });
  found.snapshot = await step('snapshot', 'getSnapshotUri', {});
  await step('move', 'absoluteMove', { x: -0.25, y: 0.125, zoom: 0.5 });
  found.position = await arrived();
  found.image = await step('image', 'getImagingSettings', {});
  await step('setImage', 'setImagingSettings', { brightness: 60 });
  found.events = [];
  const subscription = await step('subscribe', 'createPullPointSubscription');
  found.pullPoint = subscription && subscription.subscriptionReference.address.href;
  for (let pulls = 0; subscription && pulls < 2; pulls += 1) {
    const pulled = await step('pull', 'pullMessages', { messageLimit: 5 });
    const messages = [].concat((pulled && pulled.notificationMessage) || []);
    found.events.push(messages.map((message) => message.message.message.$.PropertyOperation));
  }
  if (subscription) await step('unsubscribe', 'unsubscribe');
  process.stdout.write(`${JSON.stringify(found)}\n`);
}

main().then(() => process.exit(0), (error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
