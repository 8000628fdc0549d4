import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkPlacement } from './placement.ts';

const regions = {
  areas:
    'us eu uk ap ca sa me af mx us-east us-central us-south us-west eu-north eu-south eu-west ap-southeast',
  aws: `us-east-1 us-east-2 us-west-1 us-west-2 us-gov-west-1 ca-central-1 ca-west-1 sa-east-1 mx-central-1 eu-central-1 eu-west-3
    eu-north-1 eu-south-2 ap-northeast-1 ap-northeast-3 ap-south-2 ap-southeast-7 ap-east-2 me-central-1 me-south-1 il-central-1 af-south-1`,
  gcp: `us-central1 us-east1 us-east4 us-east5 us-south1 us-west4 northamerica-northeast2 southamerica-west1 europe-west12
    europe-southwest1 europe-north2 asia-northeast3 asia-southeast2 australia-southeast1 me-west1 africa-south1`,
  oci: `us-ashburn-1 us-phoenix-1 us-sanjose-1 us-chicago-1 ca-toronto-1 sa-saopaulo-1 uk-london-1 eu-frankfurt-1 eu-paris-1
    me-dubai-1 af-johannesburg-1 ap-tokyo-1 ap-singapore-1 il-jerusalem-1 mx-queretaro-1`,
  azure: `eastus eastus2 westus3 centralus southcentralus westcentralus northeurope westeurope uksouth swedencentral southeastasia
    japaneast koreacentral canadacentral brazilsouth australiaeast southafricanorth uaenorth centralindia`,
};

test('clouds and regions that exist are accepted', () => {
  for (const cloud of ['', 'auto', 'aws', 'AWS', 'gcp', 'oci', 'azure']) checkPlacement(cloud, []);
  for (const names of Object.values(regions)) checkPlacement('', names.split(/\s+/));
});

test('others are refused by name', () => {
  for (const cloud of ['invalid-cloud', 'aws2', ' ', 'us-east-1']) {
    assert.throws(() => checkPlacement(cloud, []), { code: 'invalid-argument', message: /Invalid cloud/ });
  }
  for (const region of ['invalid-region', '', 'us-', 'us-eest-1', 'mars-east-1', 'us-east-1a', 'us-east-0']) {
    assert.throws(() => checkPlacement('', ['us-east', region]), {
      code: 'invalid-argument',
      message: /Invalid region/,
    });
  }
});
