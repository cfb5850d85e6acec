"""Words by which a name of a person is told from the language of imaging. Reviewed by hand.

All in lower case. A word belongs into `IMAGING` if it is at home in a scan's header or file name;
into `GIVEN_NAMES` if it is a common given name and hardly anything else.
"""

import unicodedata


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text, set apart by blanks."""
    return frozenset(text.split())


def fold(text: str) -> str:
    """Return a text of the same length without accents: é becomes e."""
    if text.isascii():
        return text
    return "".join(unicodedata.normalize("NFD", char)[0] for char in text)


# File endings and BIDS; sequences, contrasts and settings; anatomy; processing; software and makers;
# studies, groups and diagnoses; hospitals and places; all else that names of files are made of.
IMAGING = words_of("""
nii gz hdr img json tsv csv txt dcm ima zip tar mgz mgh nrrd mnc xlsx pdf md html yaml yml bak tmp
part sub ses acq run rec ce dir task space res den desc hemi label atlas anat func dwi fmap perf pet
meg eeg ieeg beh bids participants sessions scans events bold sbref mask masks dseg probseg sidecar
sourcedata derivatives rawdata raw data dataset phenotype subject subjects participant patient
patients pat control controls mr mri fmri ct us magnetic resonance scan scans scanner scanning image
images imaging picture series study studies session sessions visit visits exam examination protocol
sequence localizer localiser scout survey axial ax coronal cor sagittal sag oblique obl transverse
tra isotropic iso multi single dual double echo echoes planar epi mprage rage mp memprage mpr spgr
bravo fspgr ir ge se tse fse ffe tfe gre flash tfl space cube vista vibe star spiral radial
inversion recovery spin fast turbo field gradient flair dark fluid stir fat fatsat sat suppressed pd
proton density weighted susceptibility swi qsm mra mrv tof angio venogram diffusion dti adc trace
perfusion asl dsc dce contrast gad gadolinium post pre native enhanced enhancement with without high
low resolution res quality thin thick slice slices slab volume volumes voxel voxels acquisition
matrix bandwidth flip angle time repetition phase magnitude real imaginary mag norm normal average
averages channel head neck body coil array grappa sense mix calibration reference ref shim shimming
noise motion corrected correction prescan normalized normalised kopf hirn schadel brain brains
cerebrum cerebral cerebellum cerebellar cortex cortical subcortical cranial skull scalp face eye
eyes nose ear spine spinal cord cervical thoracic lumbar white grey gray matter csf ventricle
ventricles ventricular lateral medial frontal parietal temporal occipital insula cingulate
hippocampus hippocampal amygdala thalamus caudate putamen pallidum accumbens striatum basal ganglia
brainstem stem midbrain pons medulla corpus callosum hypothalamus pituitary vessel vessels artery
vein left right anterior posterior superior inferior lh rh lobe region regions roi rois lesion
lesions tumor tumour edema necrosis core whole tissue tissues segment segmentation segmented
parcellation parcels labels template templates stripped strip extracted extraction extract defaced
deface bet robust registered registration coregistered aligned alignment affine rigid linear
nonlinear warp warped warps deformation jacobian inverse forward transform transformed resampled
reslice resliced interpolated interpolation smoothed smooth smoothing filtered filter denoised
denoise bias unbiased intensity uniform nonuniformity scaled scale rescaled gradwarp unwarped
distortion unaliased converted conversion convert original orig derived primary secondary processed
processing preprocessed preproc pipeline output input result results final first last new old copy
backup archive temp test retest demo sample version release build stable beta alpha file files
format header text none null unknown unnamed untitled anonymous anonymized anonymised anon deid
default export exported import imported download downloads upload correlation coefficient statistic
statistics stat stats zscore tscore map maps mapping probability gaussian mean median sum diff
difference ratio count counts binary algebra compose fsl spm afni ants freesurfer fastsurfer nifti
nibabel dicom minc niftyreg mricron mricrogl itk snap slicer matlab python siemens philips ge
healthcare medical systems hitachi toshiba canon bruker magnetom signa achieva ingenia intera
gyroscan panorama trio tim verio skyra prisma fit avanto aera espree symphony sonata vision biograph
discovery optima premier architect excite hdx hdxt mr tesla adni aibl oasis ixi ppmi abide adhd hcp
ukb ukbb camcan cam can cobre fbirn mcic nki corr gsp sald dlbs nifd miriad brats fets tcga tcia
upenn ucsf ucsd ucla stanford gbm glioma glioblastoma meningioma metastasis metastases openneuro
openfmri aomic studyforrest icbm colin mni talairach avg nihpd epilepsy stroke dementia alzheimer
parkinson depression anxiety schizophrenia autism bipolar disease disorder syndrome healthy hc ad
mci cn hv group groups cohort case cases diagnosis sex age male female adult child infant baseline
bl followup follow up month months year years week weeks day days training train validation valid
testing holdout fold early late active passive sham drug placebo treatment therapy rest resting
state open closed eyes motor language memory working emotion reward faces places objects site sites
center centre hospital clinic clinical department dept institute institution university college
school campus general guys hammersmith iop london cologne munich berlin hamburg boston york san
santa saint st los las north south east west central national international project research lab
laboratory team investigators neuro neurology neuroradiology radiology psychiatry routine program
library user admin and or the of in on at by for from to as per not no yes all any one two three
four five eins zwei drei vier funf un deux trois quatre cinq uno dos tres due tre kontrolle kontrollen
kontroll kontrollgruppe controle controles temoin temoins
""")

# With one of these in a text, two capitalised words are more likely a house than a person.
INSTITUTIONS = words_of("""
hospital hospitals clinic clinics klinik kliniken klinikum krankenhaus spital university universitat
universitaet universitat universite universidad universita institute institut instituto istituto
center centre zentrum centro college school medical medicine foundation stiftung laboratory street
strasse avenue road atlas database
""")

# Two of these side by side are centres of a study; beside another word, one may be a surname.
PLACES = words_of("""
amsterdam antwerp antwerpen athens barcelona basel beijing bern birmingham bonn bordeaux bristol
brussels budapest cambridge chicago copenhagen dallas denver dortmund dresden dublin edinburgh essen
frankfurt freiburg geneva geneve genf genoa ghent glasgow gottingen graz groningen halle hannover
heidelberg helsinki houston innsbruck jena kiel koln lausanne leeds leiden leipzig lille lisbon
liverpool lubeck lyon maastricht madrid magdeburg mainz manchester mannheim marburg marseille
melbourne milan milano montpellier montreal nantes nijmegen oslo oxford paris philadelphia pittsburgh
prague regensburg rome rostock rotterdam salzburg seattle seoul shanghai sheffield stockholm
strasbourg stuttgart sydney tokyo toronto toulouse tubingen turin ulm uppsala utrecht vancouver verona
vienna warsaw wien wurzburg zurich
""")

GIVEN_NAMES = words_of("""
aaron abdul adam adriana agnes agnieszka ahmed aisha akira alan albert alejandro aleksander
alessandro alex alexander alexandra alfred ali alice alicia alison alvaro amanda amelie amina amit
amy ana anastasia andrea andreas andrei andrew angela angelika anil anita ann anna anne annette
anthony antje antoine anton antonio arjun arthur ashley astrid aurelie ayse barbara beatrice beatriz
benjamin benoit bernard bernd bernhard bettina betty bjorn bob brandon brenda brendan brian brigitte
bruno carla carlos carmen carol carolina caroline catherine cecile celine charles charlotte chiara
chloe christian christiane christina christine christoph christophe christopher claire claudia
claudio consuelo cornelia cristina cynthia daniel daniela david davide deborah deepak deirdre dennis
diana diane didier diego dieter dietrich dmitri dmitry dominique donald donna doris dorothea dylan
edgar eduardo edward ekaterina elena eleonora elif elisa elisabeth elizabeth elke ellen ellie emil
emily emma emre enrique eric erik erika ernst esther ethan eugen eva evelyn fabio fatima federica
felix fernando fiona florian francesca francesco francisco francois frank franz frederic friedrich
fritz gabriel gabriela gabriele gaelle geoffrey georg george gerald gerard gerhard giovanni gisela
giulia giuseppe gordon graham gregor gregory guido guillaume gunter gunther gustav hannah hannelore
hans harald harold harry hassan heather heike heinrich heinz helen helena helene helga helmut henri
henry herbert hermann hilde hiroshi horst hubert hugo hussein hyun ibrahim ignacio igor ilaria ines
ingrid irene irina isabel isabella ivan jack jacob jacqueline jacques jakob jakub james jan jane
janet janice jason javier jean jeffrey jennifer jens jeremy jerome jessica jim joachim joan joanna
jochen joe johan johann johanna johannes john jonas jonathan jorg jorge jorgen jose josef josefina
joseph joshua juan judith julia julian julie juliette jurgen justin karen karim karin karl katarina
katarzyna katharina katherine kathleen kathrin katie katja katrin kayla keiko keith kenji kenneth
kerstin kevin khaled kimberly kirsten klaus konrad kristina krzysztof lars laura lauren laurent lea
leila leon leonardo leonie liam linda lisa lorenza lorenzo louis louise luca lucas lucia lucy luigi
luis luisa lukas magdalena malgorzata manfred manon manuel manuela marc marcel marco marcus margaret
margarete maria marianne marie marilyn marina mario marion markus marta martha martin martina mary
massimo mathieu matteo matthew matthias maurice megan mehmet melanie melissa mette mia michael
michaela michel michelle miguel mike mikhail minho miriam mohamed mohammed molly monika monique
muhammad mustafa mustermann nadia nancy natalia natalie natasha nathalie niamh nicholas nicolas
nicole nigel nikolai nina norbert olaf oleg olga oliver olivia omar oscar oskar otto pablo pamela
paolo pascal patricia patrick paul paula pauline pavel pawel pedro peter petra philippe pierre
pietro pilar piotr priya rachel rafael rahul rainer ralf raphael raquel ravi raymond rebecca regina
reinhard renate rene ricardo richard rita robert roberto rocio rodrigo roger roland roman ronald
rosa rudolf ruth ryan sabine salvatore samantha samira samuel sandra sanjay sara sarah sean
sebastian sergei sergey sergio sharon shirley sigrid silke silvia simon simona simone siobhan sofia
sonja sophia sophie soren stefan stefanie stefano stephan stephanie stephen steve steven stuart
sunita susan susanne sven svenja sylvia takashi tanja tatiana teresa theodor theodore theresa
therese thierry thomas thorsten timothy tobias tomasz trevor ulrich ulrike ursula ute uwe valentina
valerie vanessa vera veronica vijay vincent virginia vladimir walter werner wilhelm william wolfgang
xavier xiaoming youssef yuki yuri yusuf yves yvonne zeynep
""")

# Titles that are followed by a name, as they are written. "MR" is not among them.
TITLES = ("Dr", "DR", "Dra", "Prof", "PROF", "Professor", "Mr", "Mrs", "MRS", "Ms", "Miss", "Herr",
          "Herrn", "HERR", "Hr", "Frau", "FRAU", "Mme", "MME", "Mlle", "MLLE", "Monsieur", "Madame",
          "Señor", "Señora", "Sra", "Srta", "Signor", "Signora", "Dott", "Dottssa", "Doktor", "Docteur")

# After these, a date is that of a program.
SOFTWARE = words_of("""
freesurfer fastsurfer fsl spm afni ants dcm2niix dcm2nii dcm2bids mricron mricrogl minc nibabel
heudiconv fmriprep mriqc cat bet flirt fnirt convert elastix itk matlab niftyreg brainvoyager caret
workbench v version release rev revision build compiled stable dev pub gcc centos
""")

# Months as people shorten them and write them out, in seven languages, without accents.
MONTHS = {
    name: number for number, names in enumerate((
        "jan january januar janvier janv ene enero gen gennaio janeiro januari",
        "feb february februar fevrier fevr fev febrero febbraio fevereiro februari",
        "mar march mrz marz maerz mars marzo marco maart",
        "apr april avril avr abr abril aprile",
        "may mai mayo maggio maio mei maj",
        "jun june juni juin junio giu giugno junho",
        "jul july juli juillet juil julio lug luglio julho",
        "aug august aout ago agosto augustus augusti",
        "sep sept september septembre septiembre set settembre setembro",
        "oct october okt oktober octobre octubre ott ottobre outubro",
        "nov november novembre noviembre novembro",
        "dec december dez dezember decembre dic diciembre dicembre dezembro",
    ), start=1) for name in names.split()
}
