/**
 * Where a caller wants a sandbox to run. There is one machine here, so a cloud or region that exists is accepted and makes no difference; one that no cloud has
 * is a mistake the real service refuses too.
 */
import { invalid } from '../rpc/fields.ts';

/** The clouds of the clients' documentation, and the one it sometimes adds. */
const clouds: ReadonlySet<string> = new Set(['auto', 'aws', 'gcp', 'oci', 'azure']);

const MAX_REGIONS = 64;

/** Parts of the world as clouds write them: `us-east-1`, `europe-west4`, `uk-london-1`. */
const AREAS = [
  ...['us', 'eu', 'uk', 'ap', 'ca', 'sa', 'me', 'af', 'mx', 'il', 'jp', 'in', 'kr', 'au', 'asia', 'europe'],
  ...['northamerica', 'southamerica', 'australia', 'africa'],
].join('|');
const DIRECTIONS = '(?:north|south|east|west|central|northeast|northwest|southeast|southwest)';

/** AWS, GCP and areas of both: `us`, `us-east`, `us-east-1`, `us-gov-west-1`, `europe-west4`. */
const directed = new RegExp(`^(?:${AREAS})(?:-(?:gov-)?${DIRECTIONS}(?:-?[1-9]\\d?)?)?$`);

/** OCI names its regions after cities. */
const cities = new RegExp(
  `^(?:${AREAS})-(?:${[
    ...['ashburn', 'phoenix', 'sanjose', 'chicago', 'toronto', 'montreal', 'monterrey', 'queretaro'],
    ...[
      'saopaulo',
      'vinhedo',
      'santiago',
      'valparaiso',
      'bogota',
      'london',
      'cardiff',
      'newport',
      'amsterdam',
    ],
    ...['frankfurt', 'zurich', 'madrid', 'milan', 'turin', 'paris', 'marseille', 'stockholm', 'jovanovac'],
    ...['jerusalem', 'dubai', 'abudhabi', 'jeddah', 'riyadh', 'johannesburg', 'casablanca', 'mumbai'],
    ...['hyderabad', 'tokyo', 'osaka', 'seoul', 'chuncheon', 'singapore', 'batam', 'sydney', 'melbourne'],
    ...['kulai', 'dallas', 'saltlake', 'jakarta'],
  ].join('|')})(?:-[1-9])?$`,
);

/** Azure writes the direction before or after the place: `eastus2`, `westeurope`, `uksouth`. */
const joined = new RegExp(
  `^(?:${DIRECTIONS}(?:us|europe|asia|india)[1-9]?|(?:${[
    ...['uk', 'japan', 'korea', 'canada', 'brazil', 'australia', 'france', 'germany', 'norway', 'sweden'],
    ...['switzerland', 'italy', 'poland', 'spain', 'israel', 'qatar', 'uae', 'southafrica', 'mexico'],
    ...['austria', 'belgium', 'denmark', 'chile', 'malaysia', 'indonesia', 'newzealand', 'india'],
  ].join('|')})(?:${DIRECTIONS}|westcentral)[1-9]?|southcentralus|northcentralus|westcentralus)$`,
);

/** @throws SkerryError `invalid-argument` for what no cloud has */
export function checkPlacement(cloud: string, regions: readonly string[]): void {
  if (cloud !== '' && !clouds.has(cloud.toLowerCase())) {
    throw invalid(`Invalid cloud: ${shown(cloud)}. Use one of ${[...clouds].join(', ')}.`);
  }
  if (regions.length > MAX_REGIONS) throw invalid(`More than ${MAX_REGIONS} regions.`);
  for (const region of regions) {
    const name = region.toLowerCase();
    if (!directed.test(name) && !cities.test(name) && !joined.test(name)) {
      throw invalid(`Invalid region: ${shown(region)}. A region is written like us-east or us-east-1.`);
    }
  }
}

const shown = (text: string): string => JSON.stringify(text.slice(0, 64));
