// A player on live555, the library with which VLC speaks RTSP: plays the video of a URL as VLC does (`:rtsp-tcp`,
// `:rtsp-http`) and writes it to standard output as an H.264 byte stream. Debian builds its VLC without live555.
//
//     live555-player URL [HTTP_PORT]     with a port the conversation goes through an RTSP-over-HTTP tunnel to it
//
// Every step and every refusal is a line on standard error; ends with status 1 if a step failed or the stream ended.

#include "BasicUsageEnvironment.hh"
#include "GroupsockHelper.hh"
#include "liveMedia.hh"

#include <cstdlib>

static UsageEnvironment* env;
static MediaSession* session;
static MediaSubsession* video;
static Authenticator* credentials;
// A key frame of a megabyte fits.
static unsigned const frameBytes = 1 << 20;

static void failed(char const* step, char* result) {
    *env << "live555: " << step << " failed: " << (result ? result : env->getResultMsg()) << "\n";
    exit(1);
}

static void ended(void*) { failed("the stream", strDup("it ended")); }

static void played(RTSPClient*, int code, char* result) {
    if (code != 0) failed("PLAY", result);
    *env << "live555: plays\n";
    delete[] result;
}

static void set_up(RTSPClient* client, int code, char* result) {
    if (code != 0) failed("SETUP", result);
    delete[] result;
    MediaSink* sink = H264VideoFileSink::createNew(*env, "stdout", video->fmtp_spropparametersets(), frameBytes);
    video->sink = sink;
    sink->startPlaying(*video->readSource(), ended, NULL);
    if (video->rtcpInstance() != NULL) video->rtcpInstance()->setByeHandler(ended, NULL);
    client->sendPlayCommand(*session, played, 0.0, -1.0, 1.0f, credentials);
}

static void described(RTSPClient* client, int code, char* result) {
    if (code != 0) failed("DESCRIBE", result);
    session = MediaSession::createNew(*env, result);
    delete[] result;
    if (session == NULL) failed("the SDP", NULL);
    MediaSubsessionIterator each(*session);
    while ((video = each.next()) != NULL && strcmp(video->codecName(), "H264") != 0) {}
    if (video == NULL) failed("the SDP", strDup("no H.264 in it"));
    if (!video->initiate()) failed("the SDP", NULL);
    client->sendSetupCommand(*video, set_up, False, True /* interleaved TCP */, False, credentials);
}

static void optioned(RTSPClient* client, int, char* result) {
    // As VLC does: OPTIONS first, and whatever it answers, DESCRIBE.
    delete[] result;
    client->sendDescribeCommand(described, credentials);
}

int main(int count, char** words) {
    if (count < 2) return 64;
    TaskScheduler* scheduler = BasicTaskScheduler::createNew();
    env = BasicUsageEnvironment::createNew(*scheduler);
    char const* user = getenv("LIVE555_USER");
    char const* password = getenv("LIVE555_PASSWORD");
    if (user != NULL && password != NULL) credentials = new Authenticator(user, password);
    portNumBits tunnel = count > 2 ? (portNumBits)atoi(words[2]) : 0;
    RTSPClient* client = RTSPClient::createNew(*env, words[1], 0, "live555-player", tunnel);
    client->sendOptionsCommand(optioned, credentials);
    scheduler->doEventLoop();
    return 1;
}
