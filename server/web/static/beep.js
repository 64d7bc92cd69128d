// @ts-check
/** A short tone, for those who want to hear that something has come. */

/** Milliseconds between two tones. */
const PAUSE_MS = 700;
const TONE_S = 0.12;

export class Beep {
  constructor() {
    /** @type {AudioContext | null} */
    this._audio = null;
    this._last = 0;
  }

  /** To be called where somebody presses something: else browsers let no page be heard. */
  on() {
    this._audio ??= new AudioContext();
    this.play();
  }

  off() {
    this._audio?.close();
    this._audio = null;
  }

  play() {
    const audio = this._audio;
    const now = Date.now();
    if (!audio || now - this._last < PAUSE_MS) return;
    this._last = now;
    const start = audio.currentTime;
    const tone = audio.createOscillator();
    const loudness = audio.createGain();
    tone.frequency.value = 880;
    loudness.gain.setValueAtTime(0.1, start);
    loudness.gain.exponentialRampToValueAtTime(0.001, start + TONE_S);
    tone.connect(loudness).connect(audio.destination);
    tone.start(start);
    tone.stop(start + TONE_S);
  }
}
